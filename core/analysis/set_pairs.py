"""Two stored sets of one model that differ in one thing, so that what differs between them comes from that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import Protocol, SetKey

if TYPE_CHECKING:
    from streamscope.core.store import FZSet

Difference = Literal["protocol", "recipe", "steps", "seed", "capture"]
_FREE: dict[Difference, frozenset[str]] = {
    "protocol": frozenset({"protocol", "recipe"}),
    "recipe": frozenset({"recipe"}),
    "steps": frozenset({"recipe"}),
    "seed": frozenset({"seed"}),
    "capture": frozenset({"capture"}),
}
"""Fields of a set's key in which a pair may differ."""


@dataclass(frozen=True)
class SetPair:
    """Two stored sets that differ in one thing, `differ`. Protocols and recipes bring their own settings and steps."""

    differ: Difference
    first: FZSet
    second: FZSet


def value_of(differ: Difference, key: SetKey) -> str | int:
    """What a set has where its pair differs, as an option of a command names it."""
    match differ:
        case "recipe":
            return key.recipe.settings
        case "steps":
            return key.recipe.steps
    value: str | int = getattr(key, differ)
    return value


def pairs_of(differ: Difference, firsts: Sequence[FZSet], seconds: Sequence[FZSet]) -> list[SetPair]:
    """A set of `firsts` and one of `seconds` that differ in one thing only; the pair to take unasked comes first.

    Where sets may differ in their recipes, each protocol's own comes before other settings, and a recipe's own number
    of steps before others; then what was completed last.
    """
    found = [SetPair(differ, a, b) for a in firsts for b in seconds if _differ_only_in(differ, a.key, b.key)]

    def rank(pair: SetPair) -> tuple[bool, int, float, float]:
        both = (pair.first, pair.second)
        settings = differ == "protocol" and all(s.key.recipe.settings == s.key.protocol for s in both)
        steps = differ in ("protocol", "recipe") and sum(map(_own_steps, both))
        return settings, steps, pair.first.completed_at() or 0.0, pair.second.completed_at() or 0.0

    return sorted(found, key=rank, reverse=True)


def partner(
    info: ModelInfo,
    key: SetKey,
    differ: Difference,
    value: Any,
    steps: int | None = None,
    settings: Protocol | None = None,
) -> SetKey:
    """The set that makes a pair with `key` and has `value` where they differ; of another protocol or recipe with its
    own steps and settings where none are given. Raises UsageError for a value that makes no sense."""
    match differ:
        case "protocol":
            return info.new_key(protocol=value, settings=settings, steps=steps, seed=key.seed, capture=key.capture)
        case "recipe":
            return replace(key, recipe=info.recipe(value, steps))
        case "steps":
            return replace(key, recipe=replace(key.recipe, steps=value))
    return replace(key, **{differ: value})


def comparable_sets(sets: Sequence[FZSet], fzset: FZSet) -> list[SetPair]:
    """Pairs of `fzset` with one of the other protocol, then with those that differ in capture only, or in seed only."""
    protocols, seeds = pairs_of("protocol", [fzset], sets), pairs_of("seed", [fzset], sets)
    return [*protocols[:1], *pairs_of("capture", [fzset], sets), *sorted(seeds, key=lambda pair: pair.second.key.seed)]


def _own_steps(fzset: FZSet) -> bool:
    recipe = fzset.key.recipe
    return recipe.steps == fzset.info.recipe(recipe.settings).steps


def _differ_only_in(differ: Difference, a: SetKey, b: SetKey) -> bool:
    same = all(getattr(a, f.name) == getattr(b, f.name) for f in fields(SetKey) if f.name not in _FREE[differ])
    if differ == "steps":
        same = same and replace(a.recipe, steps=b.recipe.steps) == b.recipe
    return same and value_of(differ, a) != value_of(differ, b)
