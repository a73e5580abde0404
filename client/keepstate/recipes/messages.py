"""Messages as chats keep them: objects of JSON with a timestamp, a role and a content."""

from __future__ import annotations

__all__ = ["Message", "as_entry", "as_messages", "as_time", "said_now", "time_text"]

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keepstate import State


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message. TypeError if role or content is no text, ValueError if the timestamp is not aware."""

    timestamp: datetime
    """When it was appended, by the service's clock."""

    role: str
    """Who speaks, e.g. "user" or "assistant"."""

    content: str

    def __post_init__(self) -> None:
        for name in ("role", "content"):
            if not isinstance(found := getattr(self, name), str):
                raise TypeError(f"{name} must be a str, not a {type(found).__name__}")
        if self.timestamp.utcoffset() is None:
            raise ValueError("timestamp must be an aware datetime, one with a timezone")


async def said_now(state: State[Any], said: Sequence[tuple[str, str]]) -> list[Message]:
    """Messages of these roles and contents, with the service's time."""
    now = await state.now()
    return [Message(timestamp=now, role=role, content=content) for role, content in said]


def as_entry(message: Message) -> dict[str, str]:
    """A message as it is kept."""
    return {"timestamp": time_text(message.timestamp), "role": message.role, "content": message.content}


def as_messages(value: Any) -> list[Message]:
    """Messages from how they are kept. TypeError or ValueError if they are something else."""
    if not isinstance(value, list):
        raise TypeError("the messages must be a list")
    return [_message(entry) for entry in value]


def time_text(time: datetime) -> str:
    """A time as it is kept: in UTC, as ISO 8601 with a Z."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def as_time(value: Any) -> datetime:
    """A time from how it is kept; in UTC where it names no zone, as some programs write it. Else ValueError."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):  # whose text would show the value
        raise ValueError("a time must be ISO 8601") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _message(entry: Any) -> Message:
    if not isinstance(entry, dict):
        raise TypeError("a message must be an object")
    role: Any = entry.get("role")
    content: Any = entry.get("content")
    return Message(timestamp=as_time(entry.get("timestamp")), role=role, content=content)
