"""Decodes JSON of an upstream into structs: at full speed what is as documented, field by field what is not.

A field of another type than documented costs only itself, never what stands beside it. Counts may be written as `12.0`
or `"12"`.
"""

from collections.abc import Callable
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec

_MISSING: Final = object()
_FAILURES: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def decoder_or_none(kind: Any) -> Callable[[bytes], Any]:
    """Decodes `kind`, all of it or nothing: None for what is not of its form. Raw JSON may hold any text and number."""
    decode = msgspec.json.Decoder(kind).decode

    def decode_or_none(data: bytes) -> Any:
        try:
            return decode(data)
        except _FAILURES:
            return None

    return decode_or_none


def decoder(kind: type[Any]) -> Callable[[bytes], Any]:
    """Decodes the struct `kind`; None for what is no JSON object."""
    decode = msgspec.json.Decoder(kind).decode

    def decode_or_none(data: bytes) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError:
            return _salvage(data, kind)
        except _FAILURES:
            return None

    return decode_or_none


def _salvage(data: bytes, kind: type[Any]) -> Any:
    try:
        value = _struct(kind, msgspec.json.decode(data))
    except _FAILURES:
        return None
    return None if value is _MISSING else value


def _struct(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, dict):
        return _MISSING
    known = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in value:
            read = _value(field.type, value[field.encode_name])
            if read is not _MISSING:
                known[field.name] = read
    return kind(**known)


def _value(kind: Any, value: Any) -> Any:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        reads = (_value(one, value) for one in get_args(kind))
        return next((read for read in reads if read is not _MISSING), _MISSING)
    if kind is Any:
        return value
    if kind is msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(value))
    if kind is int:
        return _count(value)
    if origin is list:
        (inner,) = get_args(kind)
        items = [_value(inner, item) for item in value] if isinstance(value, list) else []
        return [item for item in items if item is not _MISSING] if isinstance(value, list) else _MISSING
    if origin is dict:
        _, inner = get_args(kind)
        return {name: _value(inner, one) for name, one in value.items()} if isinstance(value, dict) else _MISSING
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind, value)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return _MISSING


def _count(value: Any) -> Any:
    """A whole number, however it is written."""
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else _MISSING
