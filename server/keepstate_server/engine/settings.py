"""What the engine's rules are measured by."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from keepstate_server.domain.records import REPEATED_AFTER
from keepstate_server.domain.times import in_milliseconds

__all__ = ["EngineSettings"]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The assumptions and limits that records are kept by; all instances on one store must agree on them."""

    longest_delay: timedelta = timedelta(seconds=30)
    """A request to a store takes effect within this time or never."""
    clock_difference: timedelta = timedelta(seconds=5)
    """The clocks of two instances differ by at most this much."""
    dead_life: timedelta = timedelta(minutes=15)
    """How long a dead record stays in the store; at least 20 longest delays are needed for a margin, see docs."""
    longest_call: timedelta = timedelta(seconds=60)
    """A call ends within this time."""
    hints: int = 10_000
    """How many records' headers are remembered, of all stores together."""
    value_bytes: int = 1024 * 1024
    """How large an update may leave a value."""
    transaction_attempts: int = 8
    """How often a transaction that meets others' writes is begun anew."""
    snapshot_attempts: int = 20
    """How many readings a snapshot makes of records that keep changing."""
    gathering: bool = True
    """Have what several callers read and write at a time go out together."""

    @cached_property
    def dead_life_ms(self) -> int:
        """``dead_life`` in milliseconds."""
        return in_milliseconds(self.dead_life)

    @cached_property
    def outcome_life(self) -> timedelta:
        """How long the outcome of a transaction is kept when nothing needs it any more.

        It must outlive every call that may still act on an intent that it saw, and every intent that arrives late.
        """
        return 4 * self.dead_life

    @cached_property
    def repeat_life_ms(self) -> int:
        """How long the entry of a repeated request is kept whatever comes, in milliseconds.

        The first attempt may still run: it began at most ``REPEATED_AFTER`` after it was sent, else it would count as a
        repeat itself, and has as long as any call.
        """
        life = REPEATED_AFTER + self.longest_call + 2 * self.clock_difference
        return in_milliseconds(max(life, timedelta(seconds=60)))

    @cached_property
    def clock_difference_ms(self) -> int:
        """``clock_difference`` in milliseconds."""
        return in_milliseconds(self.clock_difference)
