"""Keepstate as what other libraries keep their state in. A module that needs the library has an extra."""

from __future__ import annotations

__all__: list[str] = []


def missing(extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """What an adapter raises whose library is not there: what to install, as the command line says it."""
    text = f"this adapter needs {error.name}: pip install 'keepstate[{extra}]'"
    return ModuleNotFoundError(text, name=error.name)
