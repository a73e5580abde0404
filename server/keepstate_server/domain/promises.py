"""The contract's promises, and how a store comes to keep them. docs/contract.md has them in full."""

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

__all__ = ["TITLES", "Keeping", "PromiseStatus"]

TITLES = MappingProxyType(
    {
        1: "existence",
        2: "bytes",
        3: "etags",
        4: "first write",
        5: "last write",
        6: "delete",
        7: "time to live",
        8: "batch",
        9: "transaction",
        10: "consistency",
        11: "once",
        12: "updates",
        13: "codes",
        14: "deadlines",
        15: "isolation",
        16: "keys",
    }
)
"""The short name of each promise, by number."""


class Keeping(Enum):
    """How a promise is kept on a store."""

    NATIVE = "native"
    STAGED = "staged"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromiseStatus:
    """One promise on one store."""

    number: int
    keeping: Keeping
    reason: str = ""
    """Why it is refused, or what is to be known of how it is kept."""
