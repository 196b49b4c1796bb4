"""The columns of the channel table: their names are a contract, kept in CSV and JSON alike."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamscope.core.errors import UsageError
from streamscope.core.text import visible

Kind = Literal["number", "bool", "text"]
Value = float | int | bool | str | None
"""One field of a row; None is an empty field: not computed or undefined."""


@dataclass(frozen=True)
class Column:
    """One column: `values` is how many characters its usual values need, `whole` says that its numbers are integers."""

    name: str
    kind: Kind
    values: int
    help: str
    whole: bool = False

    @property
    def width(self) -> int:
        """Characters that the name as a header and the usual values need."""
        return max(len(self.name), self.values)


def _activation(read: str, visualised: str, scaling: str = "") -> Column:
    suffix = {"": "", "up": "_up", "down": "_down", "blur": "_blur"}[scaling]
    image = {
        "": f"FZ({visualised})",
        "up": f"FZ({visualised}) scaled up, S(FZ({visualised}))",
        "down": f"FZ({visualised}) scaled down, S-(FZ({visualised}))",
        "blur": f"FZ({visualised}) blurred, S(S-(FZ({visualised})))",
    }[scaling]
    # M takes relu of it; before that a negative one shows what is suppressed.
    tensor = "I + B (out before any activation)" if read == "out" else read
    return Column(f"{read}_on_{visualised}{suffix}", "number", 8, f"centre activation of {tensor}, for {image}")


COLUMNS: tuple[Column, ...] = (
    Column("model", "text", 10, "model name"),
    Column("fingerprint", "text", 12, "SHA-256 of the weights"),
    Column("block", "text", 4, "block, 2.1 for layer2.1"),
    Column("kind", "text", 10, "simple (identity shortcut) or downsample (conv + BN shortcut)"),
    Column("channel", "number", 4, "channel of the block", whole=True),
    Column("mix_ratio", "number", 5, "M = O(FZ(I)) / O(FZ(B)), 0 to 5, O = relu(I + B)"),
    Column("update", "text", 9, "overwrite (M <= 1/1.5), mix or skip (M >= 1.5)"),
    _activation("out", "in"),
    _activation("out", "block"),
    _activation("out", "out"),
    _activation("in", "in"),
    _activation("in", "block"),
    _activation("in", "out"),
    _activation("block", "in"),
    _activation("block", "block"),
    _activation("block", "out"),
    _activation("block", "in", "up"),
    _activation("in", "block", "down"),
    Column("block_gain", "number", 6, "(relu(B(S(FZ(I)))) - relu(B(FZ(I)))) / B(FZ(B))"),
    Column("input_gain", "number", 6, "(relu(I(S-(FZ(B)))) - relu(I(FZ(B)))) / I(FZ(I))"),
    Column("scale_metric", "number", 6, "SM = block_gain + input_gain"),
    Column("meets_mix", "bool", 5, "scale criterion 2: 1/1.5 < M < 1.5"),
    Column("meets_block", "bool", 5, "scale criterion 3: B(S(FZ(I))) > relu(B(FZ(I)))"),
    Column("meets_input", "bool", 5, "scale criterion 4: I(S-(FZ(B))) > relu(I(FZ(B)))"),
    Column("scale_invariant", "bool", 5, "all three scale criteria hold"),
    Column("robust", "bool", 5, "scale invariant by FZs and by MEIs (real images) too"),
    Column("bn_weight", "number", 6, "|gamma| of the block's last BN"),
    Column("conv_weight", "number", 6, "mean |w| of the block's last convolution"),
    Column("rho", "number", 6, "Spearman rho of B against I over images with I > 0"),
    Column("marked", "text", 6, "your mark: keep, reject, unsure or empty"),
    Column("tags", "text", 12, "your tags, separated by spaces"),
    Column("note", "text", 20, "your note"),
    Column("late_rise", "number", 6, "share of the final activation gained in the last quarter; larger of both FZs"),
    Column("steps", "number", 4, "optimisation steps of the FZs", whole=True),
    Column("seed", "number", 4, "seed of the stored set", whole=True),
    Column("capture", "text", 6, "exact, or lucent (its aliased hooks, for comparing only)"),
    Column("images", "number", 6, "how many images were scanned for the image-derived numbers", whole=True),
    Column("status", "text", 7, "ok, missing (which FZ) or undefined (why)"),
    Column("fz_seed", "number", 4, "seed of this row's FZ(I) and FZ(B); above seed if M was undefined", whole=True),
    Column("effective_gain", "number", 6, "|gamma| / sqrt(running_var + eps) * mean |w|"),
    Column("flags", "text", 16, "what is odd about this row's FZs, such as no gradient"),
    Column("rho_p", "number", 6, "two-sided p of rho"),
    Column("rho_images", "number", 6, "how many images have I > 0: those that rho comes from", whole=True),
    Column("mei_mix_ratio", "number", 5, "M with the 9 MEIs of in and block in place of the FZs"),
    Column("mei_meets_mix", "bool", 5, "scale criterion 2 by MEIs"),
    Column("mei_meets_block", "bool", 5, "scale criterion 3 by MEIs"),
    Column("mei_meets_input", "bool", 5, "scale criterion 4 by MEIs"),
    Column("mei_scale_invariant", "bool", 5, "all three scale criteria hold by MEIs"),
    Column("mei_images", "number", 2, "MEIs of positive activation; below 9 all that is by MEIs is empty", whole=True),
    Column("seeds", "number", 2, "sets, differing in seed only, in which this row's M is defined", whole=True),
    Column("stable_update", "number", 5, "share of those seeds that say the same update; empty below two"),
    Column("stable_scale_invariant", "number", 5, "share of those seeds that say scale invariant; empty below two"),
    Column("protocol", "text", 8, "how the FZs were made and scaled: centred, or paper, as published"),
    _activation("block", "in", "blur"),
    _activation("in", "block", "blur"),
    Column("block_gain_beyond_blur", "number", 6, "block_gain over the larger of B(FZ(I)) and B(S(S-(FZ(I))))"),
    Column("input_gain_beyond_blur", "number", 6, "input_gain over the larger of I(FZ(B)) and I(S(S-(FZ(B))))"),
    Column("beyond_blur", "bool", 5, "scale invariant, and more than blurring alone brings about"),
    Column("agreement", "number", 5, "share of the seeds that say what most of them do of scale invariance"),
    Column("probability", "number", 5, "that most FZ seeds would call the channel scale invariant, by those there are"),
    Column("verdict", "text", 9, "yes (probability 0.95 and more), no (0.05 and less) or undecided"),
    Column("seeds_mix_ratio", "number", 5, "M over the seeds: the geometric mean, each within 1/5 to 5"),
    Column("seeds_update", "text", 9, "update by that M"),
    Column("update_probability", "number", 5, "that the mean over all seeds is of the likeliest kind of update"),
    Column("q", "number", 6, "false discoveries expected among channels whose gains exceed those of pairs as far"),
    Column("photo_peak_in", "number", 5, "octaves of scale at which B's best photograph patches excite I most"),
    Column("photo_peak_block", "number", 5, "octaves of scale at which I's best photograph patches excite B most"),
    Column(
        "photo_block_larger", "number", 5, "how much larger B wants I's patches: scales above 1 less below, in sd of B"
    ),
    Column(
        "photo_in_smaller", "number", 5, "how much smaller I wants B's patches: scales below 1 less above, in sd of I"
    ),
    Column(
        "photo_p_block", "number", 5, "p of photo_block_larger against channels that answer these patches as strongly"
    ),
    Column("photo_p_in", "number", 5, "p of photo_in_smaller against channels that answer these patches as strongly"),
    Column("photo_width_in", "number", 5, "octaves of scale over which I's patches excite I by half its best"),
    Column("photo_width_out", "number", 5, "octaves of scale over which O's patches excite O by half its best"),
    Column("photo_images", "number", 2, "images that the patches of I, or of B if fewer, come from", whole=True),
    Column(
        "photo_invariant",
        "bool",
        5,
        "both exceed 95 % of all other channels on these patches, and 0 by their intervals",
    ),
    Column(
        "photo_pairs_block",
        "number",
        5,
        "share of the other channels, on these patches, that photo_block_larger exceeds",
    ),
    Column(
        "photo_pairs_in", "number", 5, "share of the other channels, on these patches, that photo_in_smaller exceeds"
    ),
    Column("photo_mates_block", "number", 4, "channels that photo_p_block compares with; empty p below 5", whole=True),
    Column("photo_mates_in", "number", 4, "channels that photo_p_in compares with; empty p below 5", whole=True),
    Column("photo_block_low", "number", 5, "lower end of photo_block_larger's 95 % bootstrap interval over images"),
    Column("photo_in_low", "number", 5, "lower end of photo_in_smaller's 95 % bootstrap interval over images"),
    Column("photo_beyond_blur", "bool", 5, "photo_invariant, and both ways more than patches blurred to the same band"),
    Column("not_applicable", "text", 16, "which measures are not defined of the block, and why"),
)
"""In the order of the contract; those after `status` are additions."""

OVER_SEEDS = (
    "seeds",
    "stable_update",
    "stable_scale_invariant",
    "agreement",
    "probability",
    "verdict",
    "seeds_mix_ratio",
    "seeds_update",
    "update_probability",
)
"""What a row has from every set that differs in seed only, and from the other channels of its block."""
BY_NAME = {c.name: c for c in COLUMNS}

DEFAULT_COLUMNS = (
    "block",
    "channel",
    "mix_ratio",
    "update",
    "scale_metric",
    "scale_invariant",
    "marked",
    "status",
)
"""What fits a terminal of 80 columns."""


def near_names(name: str, names: list[str]) -> list[str]:
    """Up to three of `names` that `name` may be a slip of, the nearest first."""
    lowered = name.casefold().replace("-", "_")[:64]
    if lowered in names:
        return [lowered]
    parts = [n for n in names if lowered in n.split("_")]
    return (parts or difflib.get_close_matches(lowered, names, cutoff=0.65))[:3]


def either(names: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def column(name: str) -> Column:
    """The column called `name`. Raises UsageError naming those it may be a slip of, or all."""
    found = BY_NAME.get(name)
    if found is None:
        near = near_names(name, list(BY_NAME))
        hint = f"did you mean {either(near)}?" if near else f"columns are {', '.join(BY_NAME)}"
        raise UsageError(f"unknown column {name!r}; {hint}")
    return found


def parse_columns(text: str) -> tuple[str, ...]:
    """Names of a list such as `block,mix_ratio`, in its order. Raises UsageError for an unknown or repeated one."""
    names = [part.strip() for part in text.split(",")]
    if "" in names:
        raise UsageError(f"empty column name in {text!r}; write for example block,channel,mix_ratio")
    for name in names:
        if names.count(column(name).name) > 1:
            raise UsageError(f"column {name!r} is named twice in {text!r}")
    return tuple(names)


def number_text(value: object) -> str:
    """One field for people to read, at most 9 characters for a number: 3 decimals, fewer where the number is large.

    Empty for None and NaN. Line breaks in text become spaces, control characters, which a terminal would obey, are
    shown. Files get full precision and the whole text (`streamscope.core.export.files`).
    """
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, str):
        if value.isprintable():
            return value
        return "".join(c if c.isprintable() else " " for c in visible(re.sub(r"\s", " ", value)))
    if isinstance(value, int | np.integer):
        return str(value)
    assert isinstance(value, float | np.floating)
    number = float(value)
    if math.isnan(number):
        return ""
    size = abs(number)
    if size >= 99999.5:
        return f"{number:.2e}"
    if size >= 999.95:
        return f"{number:.1f}"
    if 0 < size < 0.0005:
        return f"{number:.1e}"
    return f"{number:.3f}" if number else "0.000"


def natural_key(text: str) -> tuple[tuple[str, tuple[int, str]], ...]:
    """Sorts text as people do: block 3.9 before 3.10, capitals beside small letters."""
    return tuple(
        (word, (len(digits), digits))
        for word, digits in (
            (word, digits.lstrip("0")) for word, digits in re.findall(r"([^0-9]*)([0-9]*)", text.casefold())
        )
    )
