"""The service's log: structured, on standard error; never values, tokens or connection strings."""

import logging
import sys
import traceback
from functools import partial
from pathlib import PurePath

import structlog

__all__ = ["configure"]

_LONGEST_CHAIN = 10


def configure(*, level: str, as_json: bool, worker: str | None = None) -> None:
    """Sets the log up for the process; ``level`` is debug, info, warning or error.

    Each line says which ``worker`` wrote it, where there are several.
    """
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    of_worker = [] if worker is None else [partial(_with_worker, worker)]
    structlog.configure(
        processors=[
            *of_worker,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_its_words,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_FromLibraries()], force=True)


def _with_worker(
    worker: str, _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event.setdefault("worker", worker)
    return event


def _without_its_words(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Says of an exception what it is and where it arose: its text and the variables around it may hold secrets."""
    told = event.pop("exc_info", None)
    if told is True:
        told = sys.exc_info()
    error = told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        event["error"] = _described(error)
    return event


def _described(error: BaseException) -> str:
    """The types and frames of an exception and of those that it came from: "KeyError (engine/writer.py:7:put)"."""
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None and len(parts) < _LONGEST_CHAIN:
        frames = [
            f"{'/'.join(PurePath(frame.f_code.co_filename).parts[-2:])}:{line}:{frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(current.__traceback__)
        ]
        parts.append(f"{type(current).__name__} ({', '.join(frames)})")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " from ".join(parts)


class _FromLibraries(logging.Handler):
    """Writes what libraries log as the service's own lines, without the words of exceptions there too."""

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple):
            record.args = tuple(type(arg).__name__ if isinstance(arg, BaseException) else arg for arg in record.args)
        # asyncio tells of the failed task, its exception's text included, from the second line on.
        event = record.getMessage().partition("\n")[0]
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        structlog.get_logger().log(level, event, logger=record.name, exc_info=record.exc_info)
