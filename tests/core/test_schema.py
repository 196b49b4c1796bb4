"""JSON that is not what a dataclass says is refused in one line; what is, is read as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from streamscope.core.schema import MalformedError, UnknownFieldError, build, parse_json, parse_object


@dataclass(frozen=True)
class Inner:
    values: tuple[float, ...]
    pair: tuple[str, int] | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"]
    inner: tuple[Inner, ...]
    by_name: Mapping[str, int]
    number: float | str | None = None


WHOLE: dict[str, Any] = {"name": "x", "kind": "a", "inner": [{"values": [1, 2.5]}], "by_name": {"n": 1}}


def test_what_is_whole_is_read_as_written() -> None:
    found = build(Outer, {**WHOLE, "inner": [{"values": [1, 2.5], "pair": ["y", 2]}]})
    assert found == Outer("x", "a", (Inner((1, 2.5), ("y", 2)),), {"n": 1})
    assert type(found.inner[0].values[0]) is int, "digests are made of what is written"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"name": 3}, "name: 3 where text is expected"),
        ({"name": None}, "name: null where text is expected"),
        ({"kind": "c"}, "kind: 'c' where 'a' or 'b' is expected"),
        ({"kind": []}, "kind: a list of 0 where 'a' or 'b' is expected"),
        ({"inner": {}}, "inner: an object where a list is expected"),
        ({"inner": [{}]}, r"inner\[0\]: 'values' is missing"),
        ({"inner": [{"values": [1.5, True]}]}, r"inner\[0\].values\[1\]: true where a number is expected"),
        ({"inner": [{"values": [float("nan")]}]}, r"values\[0\]: nan where a number is expected"),
        ({"inner": [{"values": [10**400]}]}, r"values\[0\]: a huge number where a number is expected"),
        ({"inner": [{"values": [], "pair": ["y"]}]}, r"pair: a list of 1 where a list of 2 is expected"),
        ({"by_name": {"n": 1.0}}, "by_name.n: 1.0 where a whole number is expected"),
        ({"number": []}, "number: a list of 0 where text is expected"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change: dict[str, Any], line: str) -> None:
    with pytest.raises(MalformedError, match=line):
        build(Outer, {**WHOLE, **change})


def test_a_field_of_a_later_version_is_told_apart() -> None:
    with pytest.raises(UnknownFieldError, match=r"inner\[0\]: unknown field 'direction'"):
        build(Outer, {**WHOLE, "inner": [{"values": [], "direction": [1]}]})


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "Expecting value"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"-Infinity", "-Infinity is no number"),
        (b"\xff", "not JSON"),
        (b"[]", "a list of 0 where an object is expected"),
    ],
)
def test_content_that_is_no_object_is_refused(content: bytes, line: str) -> None:
    with pytest.raises(MalformedError, match=line):
        parse_object(content)


def test_json_is_read_as_it_is() -> None:
    assert parse_json(b'{"a": [1, 2.5, "\\u00e9", null, true]}') == {"a": [1, 2.5, "é", None, True]}
