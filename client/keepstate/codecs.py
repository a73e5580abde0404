"""How values become bytes and come back."""

from __future__ import annotations

__all__ = ["Bytes", "Codec", "Json", "Model", "Text"]

import json
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, Self, TypeVar

T = TypeVar("T")


class Codec(Protocol[T]):
    """Turns values into bytes and back.

    ``encode`` and ``decode`` raise what they like; the client makes an ``EncodeError`` or a ``DecodeError`` of it that
    names the key.
    """

    @property
    def content_type(self) -> str:
        """What is written with each value, e.g. "application/json"."""
        ...

    def reads(self, content_type: str) -> bool:
        """Whether values of this content type can be decoded. Empty: nobody said what the value is."""
        ...

    def encode(self, value: T) -> bytes:
        """Turn a value into bytes."""
        ...

    def decode(self, data: bytes) -> T:
        """Turn bytes into a value."""
        ...


@dataclass(frozen=True, kw_only=True)
class Json:
    """What JSON can say: None, bool, int, float, str, list, dict. NaN and the infinities are refused both ways."""

    content_type: str = "application/json"

    def reads(self, content_type: str) -> bool:
        """JSON, formats made of it (``…+json``), and what nobody named."""
        return _is_json(content_type) or _media_type(content_type) == _media_type(self.content_type)

    def encode(self, value: Any) -> bytes:
        """Compact, as UTF-8."""
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()

    def decode(self, data: bytes) -> Any:
        """Whatever JSON says."""
        return json.loads(data, parse_constant=_refuse_constant)


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """Bytes as they are. Reads records of every content type, since every record is bytes."""

    content_type: str = "application/octet-stream"

    def reads(self, content_type: str) -> bool:  # noqa: ARG002
        """Everything."""
        return True

    def encode(self, value: bytes) -> bytes:
        """As they are; also a bytearray or a memoryview."""
        return bytes(memoryview(value))  # bytes(5) would be five zeros

    def decode(self, data: bytes) -> bytes:
        """As they are."""
        return data


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text as UTF-8."""

    content_type: str = "text/plain"

    def reads(self, content_type: str) -> bool:
        """Every kind of text (``text/…``), and what nobody named."""
        media = _media_type(content_type)
        return media in ("", _media_type(self.content_type)) or media.startswith("text/")

    def encode(self, value: str) -> bytes:
        """As UTF-8."""
        if not isinstance(value, str):
            raise TypeError(f"a {type(value).__name__} is not text")
        return value.encode()

    def decode(self, data: bytes) -> str:
        """As UTF-8."""
        return data.decode()


class _JsonModel(Protocol):
    """The part of ``pydantic.BaseModel`` that is needed here."""

    def model_dump_json(self) -> str: ...

    @classmethod
    def model_validate_json(cls, json_data: bytes, /) -> Self: ...


M = TypeVar("M", bound=_JsonModel)


class Model(Codec[M]):
    """Pydantic models as JSON, or any class with ``model_dump_json`` and ``model_validate_json``."""

    def __init__(self, model: type[M], *, content_type: str = "application/json") -> None:
        self.model = model
        self._content_type = content_type

    @property
    def content_type(self) -> str:
        """What is written with each value."""
        return self._content_type

    def reads(self, content_type: str) -> bool:
        """JSON, formats made of it (``…+json``), and what nobody named."""
        return _is_json(content_type) or _media_type(content_type) == _media_type(self.content_type)

    def encode(self, value: M) -> bytes:
        """As the model writes itself."""
        if not isinstance(value, self.model):
            raise TypeError(f"a {type(value).__name__} is not a {self.model.__name__}")
        return value.model_dump_json().encode()

    def decode(self, data: bytes) -> M:
        """As the model validates it."""
        return self.model.model_validate_json(data)


def _is_json(content_type: str) -> bool:
    media = _media_type(content_type)
    return media in ("", "application/json") or media.endswith("+json")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
