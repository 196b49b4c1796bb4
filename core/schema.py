"""JSON that others wrote, read as what a dataclass says it is: the one place that checks fields, types and numbers.

A file may hold anything: another type, NaN, a field of a later version, brackets a hundred thousand deep. Whatever does
not fit raises MalformedError; nothing is converted or guessed.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Converter = Callable[[Any], Any]
_LARGEST = 2**1000
"""Whole numbers beyond do not fit a float."""
_NAMES = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "a list"}


class MalformedError(ValueError):
    """JSON is not what it should be; `place` is where in it, `.blocks[3].channels`."""

    def __init__(self, what: str, place: str = "") -> None:
        self.what, self.place = what, place
        super().__init__(f"{place.removeprefix('.')}: {what}" if place else what)


class UnknownFieldError(MalformedError):
    """A later version says more of something than this one knows: it must not be read as if that were not said."""

    def __init__(self, field: str, place: str = "") -> None:
        self.field = field
        super().__init__(f"unknown field {field[:40]!r}", place)


def parse_json(content: bytes | str) -> Any:
    """What JSON holds. Raises MalformedError, also for NaN, infinities and too deep a nesting."""
    try:
        return _DECODER.decode(content if isinstance(content, str) else content.decode())
    except RecursionError:
        raise MalformedError("nested too deeply") from None
    except MalformedError:
        raise
    except ValueError as error:
        # UnicodeDecodeError shows the bytes.
        what = str(error) if isinstance(error, json.JSONDecodeError) else "not JSON"
        raise MalformedError(what) from None


def parse_object(content: bytes | str) -> dict[str, Any]:
    """As `parse_json`, of an object."""
    data = parse_json(content)
    if not isinstance(data, dict):
        raise MalformedError(f"{_shown(data)} where an object is expected")
    return data


def build(cls: type[T], data: Any) -> T:
    """The dataclass that JSON describes: every field of its type, none missing but those with a default, none unknown.

    Lists become tuples where a field says so. Raises MalformedError, UnknownFieldError, and what `cls` itself raises.
    """
    hint: Any = cls
    found: T = _converter(hint)(data)
    return found


def build_known(cls: type[T], data: Any) -> T:
    """As `build`, of what later versions may say more of: fields that `cls` does not have are left out.

    For what nobody computes with: jobs, leases, journals. Raises MalformedError, and what `cls` itself raises.
    """
    if not isinstance(data, dict):
        raise MalformedError(f"{_shown(data)} where an object is expected")
    hashable: Any = cls
    known = _field_names(hashable)
    return build(cls, {name: value for name, value in data.items() if name in known})


def whole_number(value: Any, first: int, last: int) -> int:
    """A whole number from `first` to `last`. Raises MalformedError."""
    if type(value) is not int or not first <= value <= last:
        raise MalformedError(f"{_shown(value)} where a whole number from {first} to {last} is expected")
    return value


@cache
def _converter(hint: Any) -> Converter:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: value
    if hint is float:
        return _number
    if hint in _NAMES:
        return _of_type(hint)
    if origin is Literal:
        return _one_of(arguments)
    if origin in (Union, types.UnionType):
        return _either(arguments)
    if origin is tuple:
        return _sequence(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_converter(arguments[1]))
    if is_dataclass(hint):
        return _object(hint)
    raise TypeError(f"no JSON for {hint}")


def _number(value: Any) -> Any:
    # Whole numbers stay what they are: digests are made of what is written.
    if (type(value) is int and abs(value) < _LARGEST) or (type(value) is float and math.isfinite(value)):
        return value
    raise MalformedError(f"{_shown(value)} where a number is expected")


@cache
def _field_names(cls: Any) -> frozenset[str]:
    return frozenset(field.name for field in fields(cls) if field.init)


def _of_type(kind: type) -> Converter:
    def convert(value: Any) -> Any:
        # Not isinstance: true is an int to Python.
        if type(value) is kind:
            return value
        raise MalformedError(f"{_shown(value)} where {_NAMES[kind]} is expected")

    return convert


def _one_of(values: tuple[Any, ...]) -> Converter:
    def convert(value: Any) -> Any:
        if isinstance(value, str) and value in values:
            return value
        raise MalformedError(f"{_shown(value)} where {' or '.join(map(repr, values))} is expected")

    return convert


def _either(arguments: tuple[Any, ...]) -> Converter:
    *others, last = (_converter(argument) for argument in arguments if argument is not types.NoneType)
    nothing = types.NoneType in arguments

    def convert(value: Any) -> Any:
        if value is None and nothing:
            return None
        for other in others:
            with suppress(MalformedError):
                return other(value)
        return last(value)

    return convert


def _sequence(arguments: tuple[Any, ...]) -> Converter:
    if arguments[-1] is not Ellipsis:
        converters = [_converter(argument) for argument in arguments]

        def fixed(value: Any) -> Any:
            if not isinstance(value, list | tuple) or len(value) != len(converters):
                raise MalformedError(f"{_shown(value)} where a list of {len(converters)} is expected")
            pairs = zip(converters, value, strict=True)
            return tuple(_at(f"[{n}]", convert, part) for n, (convert, part) in enumerate(pairs))

        return fixed
    inner, numbers = _converter(arguments[0]), arguments[0] is float

    def several(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise MalformedError(f"{_shown(value)} where a list is expected")
        # A wide ResNet's description has a hundred thousand numbers; the sum shows at once that none is infinite.
        if numbers and set(map(type, value)) <= {float} and math.isfinite(sum(value)):
            return tuple(value)
        return tuple(_at(f"[{n}]", inner, part) for n, part in enumerate(value))

    return several


def _mapping(inner: Converter) -> Converter:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise MalformedError(f"{_shown(value)} where an object is expected")
        return {name: _at(f".{name[:40]}", inner, part) for name, part in value.items()}

    return convert


def _object(cls: Any) -> Converter:
    # Types are looked up when they are needed: a class may name itself.
    @cache
    def converters() -> dict[str, Converter]:
        hints = get_type_hints(cls)
        return {field.name: _converter(hints[field.name]) for field in fields(cls) if field.init}

    required = [
        field.name
        for field in fields(cls)
        if field.init and field.default is MISSING and field.default_factory is MISSING
    ]

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise MalformedError(f"{_shown(value)} where an object is expected")
        known = converters()
        values = {}
        for name, part in value.items():
            if name not in known:
                raise UnknownFieldError(name)
            values[name] = _at(f".{name}", known[name], part)
        for name in required:
            if name not in values:
                raise MalformedError(f"{name!r} is missing")
        return cls(**values)

    return convert


def _at(place: str, convert: Converter, value: Any) -> Any:
    try:
        return convert(value)
    except MalformedError as error:
        error.place = place + error.place
        error.args = (f"{error.place.removeprefix('.')}: {error.what}",)
        raise


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case dict():
            return "an object"
        case list() | tuple():
            return f"a list of {len(value)}"
        case bool():
            return "true" if value else "false"
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _refuse(name: str) -> NoReturn:
    raise MalformedError(f"{name} is no number that JSON has")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
