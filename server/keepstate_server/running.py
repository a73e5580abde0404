"""What becomes of a program's faults: a line for people, and an exit code."""

import sys
from collections.abc import Callable

import structlog

from keepstate_server.config import BadConfiguration

__all__ = ["EX_CONFIG", "AlreadyTold", "exit_code_of", "say"]

EX_CONFIG = 78
"""A wrong setting."""

_log = structlog.get_logger(__name__)


class AlreadyTold(Exception):
    """A process that was needed ended with ``exit_code``, and has told why."""

    def __init__(self, process: str, exit_code: int) -> None:
        super().__init__(f"its process {process} ended with exit code {exit_code} before it listened")
        self.exit_code = exit_code


def exit_code_of(run: Callable[[], None]) -> int:
    """Runs ``run``, tells of what goes wrong, and returns the exit code: 0, 1 for a fault, 78 for a wrong setting."""
    try:
        run()
    except BadConfiguration as error:
        say(f"keepstate: {error}")
        return EX_CONFIG
    except AlreadyTold as error:
        say(f"keepstate: could not start: {error}")
        return EX_CONFIG if error.exit_code == EX_CONFIG else 1
    except Exception:  # noqa: BLE001 - left to the interpreter, its text would be printed, whatever that holds
        _log.exception("ended by a fault")
        return 1
    return 0


def say(line: str) -> None:
    """Prints a line on standard error, where the log is too."""
    sys.stderr.write(f"{line}\n")  # at once: other processes may write there
    sys.stderr.flush()
