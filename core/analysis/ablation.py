"""What is said of an ablation's control sets: how they were matched, how balanced they are, and what they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamscope.core.measures.matching import ALIKE, BALANCED, Balance, correlation, independent
from streamscope.core.model.blocks import format_channels
from streamscope.core.store.ablations import Ablation


def sets_count(ablation: Ablation) -> bool:
    """Whether the control sets differ so much that how many of them harm as much as the chosen set says something."""
    if ablation.matching is None:
        return ablation.overlap <= ALIKE
    return correlation(ablation.controls.sets, ablation.matching.others) <= ALIKE


def controls_text(ablation: Ablation) -> list[str]:
    """Sentences on the control sets; of what an earlier version stored those that it allows."""
    return [_matching(ablation), _balances(ablation), _sharing(ablation)]


def _matching(ablation: Ablation) -> str:
    count, matching = len(ablation.controls.sets), ablation.matching
    if matching is None:
        return (
            f"{_sets(count)}, each control drawn from the {ablation.controls.nearest} nearest channels in mean "
            "activation by an earlier version, which neither matched variances nor drew random sets."
        )
    signed = "the mean, which is negative in some channels, and of the variance's logarithm"
    unit = signed if matching.signed else "their logarithms"
    text = (
        f"{_sets(count)}, matched one to one on the mean and the variance of the stream's activation over the images "
        f"within {matching.caliper:g} deviations of {unit}"
    )
    if matching.outside:
        outside = len(matching.outside)
        channels = f"channel{'s' if outside > 1 else ''} {format_channels(matching.outside)}"
        text += (
            f"; for {outside} of the {len(ablation.channels)} chosen ({channels}) nothing is so near, and the caliper "
            f"is widened as little as it can be, up to {matching.widest:.2g}"
        )
    return f"{text}."


def _balances(ablation: Ablation) -> str:
    if ablation.matching is None:
        matched = [float(np.mean(means)) for means in ablation.control_means]
        return (
            f"Mean activation {np.mean(ablation.means):.4g} chosen, {np.mean(matched):.4g} controls "
            f"({min(matched):.4g} to {max(matched):.4g})."
        )
    text = f"Standardised differences, chosen less controls: {_balance(ablation.matching.balance)}"
    if ablation.random is not None:
        text += f"; less random sets: {_balance(ablation.random.balance)}"
    worst = max(abs(float(np.mean(d))) for d in (ablation.matching.balance.mean, ablation.matching.balance.variance))
    if worst > BALANCED:
        text += f". The controls miss the chosen channels by more than {BALANCED:g}: what differs may be the activation"
    return f"{text}."


def _balance(balance: Balance) -> str:
    return f"mean {_spread(balance.mean)}, variance {_spread(balance.variance)}"


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):+.2f} ({min(values):+.2f} to {max(values):+.2f})"


def _sharing(ablation: Ablation) -> str:
    count = len(ablation.controls.sets)
    if count == 1:
        return "There is one control set only, and nothing to say how much such sets vary."
    text = f"Two control sets have {ablation.overlap:.0%} of their channels in common on average"
    if ablation.matching is None:
        return f"{text}."
    alone = independent(ablation.controls.sets, ablation.matching.others)
    return f"{text}: the {count} count as about {alone:.2g} independent ones."


def _sets(count: int) -> str:
    return f"{count} control set{'s' if count > 1 else ''}"
