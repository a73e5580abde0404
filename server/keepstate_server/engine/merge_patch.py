"""JSON merge patch, RFC 7396, upon JSON as text: what the patch does not name stays to the letter, numbers too."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keepstate_server.domain.json_text import after_mark, past_value, read_json

__all__ = ["Patch", "merged", "read_patch"]

Patch = str | Mapping[str, "Member"] | None
"""What becomes of a value: another one, by its text; an object in which these members change; or nothing."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a patch that is an object."""

    spelled: str
    """Its name as the patch writes it, in quotes."""
    patch: Patch


def read_patch(data: bytes) -> Patch:
    """Returns the patch in ``data``.

    Raises:
        ValueError: it is not JSON, or names a member twice; says why, to be put after the name of what was read.
    """
    text, _ = read_json(data)
    patch, _ = _patch_at(text, 0)
    return patch


def merged(text: str, patch: Patch) -> str:
    """Returns what ``patch`` makes of ``text``, which must be JSON without space around it.

    Raises:
        ValueError: an object in ``text`` has a member twice that the patch names.
    """
    if isinstance(patch, Mapping) and text.startswith("{"):
        return _merged_at(text, 0, patch)[0]
    return _new(patch) or "null"


def _patch_at(text: str, at: int) -> tuple[Patch, int]:
    """Returns the patch that begins at ``at``, and where it ends."""
    if text[at] != "{":
        value, end = past_value(text, at)
        return None if value is None else text[at:end], end
    members: dict[str, Member] = {}
    at = after_mark(text, at)
    while text[at] != "}":
        name, end = past_value(text, at)
        if name in members:
            raise ValueError("names a member twice")
        spelled = text[at:end]
        patch, end = _patch_at(text, after_mark(text, end))
        members[name] = Member(spelled, patch)
        at = after_mark(text, end)
    return members, at + 1


def _merged_at(text: str, at: int, members: Mapping[str, Member]) -> tuple[str, int]:
    """Returns what becomes of the object that begins at ``at``, and where it ends."""
    parts: list[str] = []
    left = dict(members)
    at = after_mark(text, at)
    while text[at] != "}":
        name, end = past_value(text, at)
        spelled = text[at:end]
        at = after_mark(text, end)
        member = left.pop(name, None)
        if member is None and name in members:
            raise ValueError("has a member twice that the patch names")
        value: str | None
        if member is not None and isinstance(member.patch, Mapping) and text[at] == "{":
            value, end = _merged_at(text, at, member.patch)
        else:
            _, end = past_value(text, at)
            value = _new(member.patch) if member else text[at:end]
        if value is not None:
            parts.append(f"{spelled}:{value}")
        at = after_mark(text, end)
    return f"{{{','.join([*parts, *_new_members(left)])}}}", at + 1


def _new(patch: Patch) -> str | None:
    """Returns what ``patch`` makes of nothing, or of what is no object; None: nothing."""
    return f"{{{','.join(_new_members(patch))}}}" if isinstance(patch, Mapping) else patch


def _new_members(members: Mapping[str, Member]) -> Iterator[str]:
    for member in members.values():
        if (value := _new(member.patch)) is not None:
            yield f"{member.spelled}:{value}"
