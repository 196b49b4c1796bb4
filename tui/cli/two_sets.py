"""Two stored sets, by giving two values to one of the options that name a set: `--protocol paper centred`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, get_args

import click

from streamscope.core.analysis.set_pairs import Difference, SetPair, pairs_of, partner
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import PROTOCOLS
from streamscope.core.store import Store
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, device_options, until_converged_option
from streamscope.tui.command_lines import set_words

DIFFERENCES: tuple[Difference, ...] = get_args(Difference)
_PROTOCOL, _CAPTURE = click.Choice(PROTOCOLS), click.Choice(["exact", "lucent"])
_OPTIONS = (
    click.option(
        "--protocol",
        type=_PROTOCOL,
        multiple=True,
        metavar="P [P]",
        help="Protocol of the sets: centred, paper, or both.",
    ),
    click.option(
        "--recipe",
        type=_PROTOCOL,
        multiple=True,
        metavar="R [R]",
        help="The optimiser's settings: centred, paper, or both.",
    ),
    click.option(
        "--steps",
        type=int,
        multiple=True,
        metavar="N [N]",
        help="Optimisation steps of the sets, or of either; of each where protocols or recipes differ.",
    ),
    click.option("--seed", type=int, multiple=True, metavar="N [N]", help="Seed of the sets, or of either."),
    click.option(
        "--capture",
        type=_CAPTURE,
        multiple=True,
        metavar="C [C]",
        help="Tensors that FZs were made of: exact, lucent, or both.",
    ),
    until_converged_option,
)


@dataclass(frozen=True)
class TwoValues:
    """What two sets differ in, as an option names it, and what the first and the second have there."""

    differ: Difference
    values: tuple[Any, Any]
    steps: tuple[int, int] | None = None
    """Of the first and of the second, where protocols or recipes differ and each is told its own."""


class TwoSetsCommand(click.Command):
    """Reads `--seed 0 1` as `--seed 0 --seed 1`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(arguments: Sequence[str]) -> list[str]:
    """The same arguments, with the option before every further value of it."""
    found: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("--"):
            option = argument if argument.removeprefix("--") in DIFFERENCES else ""
        elif option and found[-1] != option:
            found.append(option)
        found.append(argument)
    return found


def two_set_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `set_options`, but that one of the options that name a set takes two values.

    The command gets a `Given` without these, and the `TwoValues`. Raises UsageError.
    """

    @wraps(command)
    def run(given: Given, **values: Any) -> Any:
        named: dict[Difference, tuple[Any, ...]] = {name: values.pop(name) for name in DIFFERENCES}
        given = replace(given, until_converged=values.pop("until_converged") or given.until_converged)
        given = replace(given, **{name: found[0] for name, found in named.items() if len(found) == 1})
        return command(given, two=_two_values(named), **values)

    for option in reversed(_OPTIONS):
        run = option(run)
    return device_options(run)


def stored_pair(given: Given, two: TwoValues, store: Store, info: ModelInfo, words: Sequence[str]) -> SetPair:
    """The stored sets that are meant; said on stderr where others may be.

    `words` are the options that choose blocks and channels, for the command that makes what is missing. Raises
    StoreError.
    """
    sides = [replace(given, **{two.differ: value}) for value in two.values]
    if two.steps is not None:
        sides = [replace(side, steps=steps) for side, steps in zip(sides, two.steps, strict=True)]
    firsts, seconds = (store.fitting_sets(info, **side.told) for side in sides)
    pairs = pairs_of(two.differ, firsts, seconds)
    if len(pairs) > 1:
        others = ", ".join(f"--{name}" for name in DIFFERENCES if name != two.differ)
        which = f"{pairs[0].first.key} with {pairs[0].second.key}, of {len(pairs)} pairs of stored sets"
        say(f"streamscope: comparing {which} ({others} choose another)", err=True)
    if pairs:
        return pairs[0]
    if not firsts and not seconds:
        raise sides[0].nothing_stored(store, info, words=tuple(words))
    # There is one side at least: its last completed set lacks its other.
    present, absent = (firsts, sides[1]) if firsts else (seconds, sides[0])
    value = getattr(absent, two.differ)
    key = max(reversed(present), key=lambda fzset: fzset.completed_at() or 0.0).key
    other = partner(info, key, two.differ, value, absent.steps, given.recipe)
    how = given.commands("compute", *words, *set_words(other, info))
    raise StoreError(f"no set is stored of {two.differ} {value} to compare with {key}; run '{how}' first")


def _two_values(named: dict[Difference, tuple[Any, ...]]) -> TwoValues:
    several = {name: values for name, values in named.items() if len(values) > 1}
    if not several:
        options = ", ".join(f"--{name}" for name in DIFFERENCES)
        raise UsageError(f"two sets are compared: give one of {options} two values, such as --protocol paper centred")
    steps = several.pop("steps", None) if len(several) == 2 and several.keys() & {"protocol", "recipe"} else None
    if len(several) > 1:
        options = " and ".join(f"--{name}" for name in several)
        raise UsageError(f"{options} have two values each: sets are compared that differ in one thing")
    [(differ, values)] = several.items()
    if len(values) > 2 or len(set(values)) == 1:
        raise UsageError(f"--{differ} {' '.join(map(str, values))}: give two different values")
    if steps is not None and len(steps) > 2:
        raise UsageError(f"--steps {' '.join(map(str, steps))}: give one number for each of the two sets")
    return TwoValues(differ, (values[0], values[1]), steps and (steps[0], steps[1]))
