"""Reads JSON and TOML objects into frozen dataclasses, as strictly as the real runner's decoder."""

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


class DecodeError(ValueError):
    """A value has another type than the real runner expects; the message names it."""


def decode(kind: type[_T], value: object, path: str) -> _T:
    """`value` as a dataclass of this kind. Keys are read in any case and with `-` for `_`.

    Null and absent are alike; unknown keys mean nothing. Raises `DecodeError`.
    """
    entries = {
        key.lower().replace("-", "_"): entry for key, entry in _of(dict, value, path).items()
    }
    hints = get_type_hints(kind)
    return kind(
        **{
            field.name: _value(hints[field.name], entries[field.name], f"{path}.{field.name}")
            for field in fields(kind)  # type: ignore[arg-type]
            if entries.get(field.name) is not None
        }
    )


def _value(wanted: Any, value: object, path: str) -> object:
    if is_dataclass(wanted):
        return decode(wanted, value, path)  # type: ignore[arg-type]
    plain = get_origin(wanted) or wanted
    if plain is tuple:
        return tuple(_value(get_args(wanted)[0], entry, path) for entry in _of(list, value, path))
    return _of(plain, value, path)


def _of(wanted: type[_T], value: object, path: str) -> _T:
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise DecodeError(f"{path} must be of type {wanted.__name__}")
    return value
