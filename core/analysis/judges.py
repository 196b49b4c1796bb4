"""How far two people agree on the channels that both marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamscope.core.measures.agreement import Agreement, agreement
from streamscope.core.table.columns import natural_key

VERDICTS = ("keep", "unsure", "reject")
"""Marks in order: two that are further apart differ more."""

Channel = tuple[str, int]


@dataclass(frozen=True)
class Difference:
    """A channel that two people marked otherwise."""

    block: str
    channel: int
    first: str
    second: str


@dataclass(frozen=True)
class JudgesCompared:
    """Two people's marks of the same model."""

    agreement: Agreement
    table: tuple[tuple[int, ...], ...]
    """Channels by the first one's mark (rows) and the second one's, both in the order of `VERDICTS`."""
    first_only: int
    """Channels that the first one alone marked."""
    second_only: int
    differences: tuple[Difference, ...]
    """Those of keep against reject first, then in order of block and channel."""


def compare_judges(first: Mapping[Channel, str], second: Mapping[Channel, str]) -> JudgesCompared:
    """Compares marks by channel; "" is none, and a channel that either left so counts for nothing."""
    one, other = ({key: mark for key, mark in marks.items() if mark} for marks in (first, second))
    both = sorted(one.keys() & other.keys(), key=lambda key: (natural_key(key[0]), key))
    counts = [[0] * len(VERDICTS) for _ in VERDICTS]
    for key in both:
        counts[VERDICTS.index(one[key])][VERDICTS.index(other[key])] += 1
    differing = [Difference(*key, one[key], other[key]) for key in both if one[key] != other[key]]
    return JudgesCompared(
        agreement(counts),
        tuple(map(tuple, counts)),
        len(one.keys() - other.keys()),
        len(other.keys() - one.keys()),
        tuple(sorted(differing, key=lambda d: -_distance(d))),
    )


def _distance(difference: Difference) -> int:
    return abs(VERDICTS.index(difference.first) - VERDICTS.index(difference.second))
