"""Flags that several commands have, written once as the parameters of a function that makes one value of them."""

from __future__ import annotations

__all__ = ["parameters_of", "with_flags"]

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any


def with_flags(
    parameter: str, make: Callable[..., object], without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of ``make``, but those of ``without``, in the place of one parameter.

    The command gets what ``make`` returns for the flags given.
    """
    flags = {name: flag for name, flag in parameters_of(make).items() if name not in without}

    def change(command: Callable[..., None]) -> Callable[..., None]:
        own = parameters_of(command)
        del own[parameter]

        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            made = make(**{name: arguments.pop(name) for name in flags})
            command(**arguments, **{parameter: made})

        # What typer makes the command's flags of.
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (own | flags).values()]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return change


def parameters_of(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """Return a function's parameters by name, with their annotations evaluated."""
    return dict(inspect.signature(function, eval_str=True).parameters)
