"""FZ recipes: how an image is optimised. Never imports torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from streamscope.core.errors import UsageError
from streamscope.core.schema import build

Capture = Literal["exact", "lucent"]
Objective = Literal["neuron", "channel"]
"""What FZs are optimised for: a channel's centre neuron, or its mean over space, which is for looking at only."""
Protocol = Literal["centred", "paper"]
"""How FZs are made and scaled, beyond the optimiser's settings.

`paper`, as published: Lucent's jitter, which shifts one way only; scaling about the image's centre, bilinear; FZ(I) of
a block made under the transforms of the block before. `centred`: transforms that move nothing on average; scaling about
the centre of the receptive field, by Lanczos; FZ(I), FZ(B) and FZ(O) of a block made under the same transforms.
"""
PROTOCOLS: tuple[Protocol, ...] = ("centred", "paper")
"""Those that this version knows. A set of another one is neither read nor taken for one of these."""
DEFAULT_PROTOCOL: Protocol = "centred"
"""Of new sets."""
UNSAID_PROTOCOL: Protocol = "paper"
"""Of sets and jobs that do not say: they are older than protocols."""

JITTER_BY_FIELD: dict[Protocol, tuple[tuple[int, int], ...]] = {"paper": ((67, 0), (147, 4)), "centred": ((147, 4),)}
"""(largest receptive field in px, jitter): arXiv 2407.05340's choice for ResNet18, read as a rule. It has no jitter for
the smallest fields, where nothing then regularises an FZ: its activation grows for as long as it is optimised."""
WIDEST_JITTER = 16
MOST_STEPS = 1_000_000_000
LARGEST_SEED = 2**62
"""Generators take 64 bits, and FZs that are optimised again the next seeds."""
FADING = 0.75
"""Share of the steps over which transforms fade: the last quarter shows whether an FZ has converged (`late_rise`)."""
PLATEAU = 0.01
"""Rise over the last quarter of the steps, as a share of the activation, below which an FZ counts as converged."""


@dataclass(frozen=True)
class Recipe:
    """The `paper` recipe (arXiv 2407.05340): Lucent's Fourier parameters and transforms, Adam, `steps` steps.

    `rate` is Adam's learning rate; `sd` and `decay` shape the Fourier parameters; `scales` and `degrees` are what the
    random scale and rotation choose from. Jitter follows from receptive fields (`jitter_for`).
    """

    name: str = "paper"
    steps: int = 2560
    rate: float = 0.05
    sd: float = 0.01
    decay: float = 1.0
    scales: tuple[float, ...] = (1.0, 0.975, 1.025, 0.95, 1.05)
    degrees: tuple[int, ...] = (-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5)
    plateau: float | None = None
    """Stops an image early when its activation rose by less than this share of itself over the last quarter of its
    steps; `steps` is then the most that it takes. None, as in the paper, stops none."""
    moments: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of its averages of the gradient and of its square."""
    cooling: float = 0.0
    """Share of the steps, the last ones, over which the rate falls evenly to none."""
    fade_to: float = 1.0
    """Strength that the random transforms fade to, evenly over the first `FADING` of the steps: 1 leaves them whole, 0
    ends in none. Only the centred protocol's can."""

    def __post_init__(self) -> None:
        if self.steps <= 0:
            raise UsageError(f"steps must be 1 or more, not {self.steps}")
        if self.steps > MOST_STEPS:
            raise UsageError(f"steps must be {MOST_STEPS:,} or fewer")
        if self.plateau is not None and not 0 < self.plateau < 1:
            raise UsageError(f"a plateau is a share between 0 and 1, not {self.plateau:g}")
        if not all(0 <= moment < 1 for moment in self.moments):
            raise UsageError(f"Adam's moments are from 0 to below 1, not {self.moments[0]:g} and {self.moments[1]:g}")
        if not (0 <= self.cooling <= 1 and 0 <= self.fade_to <= 1):
            raise UsageError(f"cooling and fading are shares from 0 to 1, not {self.cooling:g} and {self.fade_to:g}")
        if self.plateau is not None and (self.cooling or self.fade_to < 1):
            raise UsageError(f"the {self.settings} recipe needs all of its steps: it cannot stop what has converged")

    def until_converged(self, plateau: float = PLATEAU) -> Recipe:
        """The same but that it stops what has converged."""
        return replace(self, name=f"{self.name}-converged", plateau=plateau)

    def rate_at(self, step: int) -> float:
        """Adam's learning rate at step 1 to `steps`."""
        left = (self.steps - step + 1) / self.steps
        return self.rate * (min(1.0, left / self.cooling) if self.cooling else 1.0)

    @property
    def settings(self) -> Protocol:
        """Which protocol's own settings these are. The demo's recipe is a quick variant of the paper's."""
        return "centred" if self.name.startswith("centred") else "paper"

    def to_json(self) -> dict[str, Any]:
        # Recipes are older than some fields: where these say nothing they read and are named as they were.
        later = ("plateau", "moments", "cooling", "fade_to")
        return {n: value for n, value in asdict(self).items() if n not in later or value != getattr(Recipe, n)}

    @classmethod
    def from_json(cls, data: Any) -> Recipe:
        """Inverse of `to_json`. Raises MalformedError, UnknownFieldError for a later version's, UsageError."""
        return build(cls, data)


CENTRED = Recipe(
    name="centred", steps=128, rate=0.04, sd=0.001, decay=1.25, moments=(0.5, 0.9), cooling=0.5, fade_to=0.1
)
"""The default recipe of the centred protocol: reaches the activations of the paper's in a twentieth of its steps
(docs/centred.md has what else was tried)."""


def jitter_for(field_size: int, protocol: Protocol) -> int:
    """Jitter in px for a receptive field of `field_size` px: `paper` 0 up to 67, 4 up to 147, else 16; `centred` 4 up
    to 147, else 16."""
    for largest, jitter in JITTER_BY_FIELD[protocol]:
        if field_size <= largest:
            return jitter
    return WIDEST_JITTER


@dataclass(frozen=True)
class SetKey:
    """Names one stored set: FZs of one model by one recipe, seed and capture are never mixed with another's."""

    recipe: Recipe
    seed: int = 0
    capture: Capture = "exact"
    objective: Objective = "neuron"
    protocol: Protocol = UNSAID_PROTOCOL

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, not {self.seed}")
        if self.seed > LARGEST_SEED:
            raise UsageError(f"seed must be {LARGEST_SEED} or less")
        if self.capture not in ("exact", "lucent"):
            raise UsageError(f"unknown capture {self.capture!r}; use exact or lucent")
        if self.objective not in ("neuron", "channel"):
            raise UsageError(f"unknown objective {self.objective!r}; use neuron or channel")
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"unknown protocol {self.protocol!r}; use {' or '.join(PROTOCOLS)}")
        if self.protocol == "paper" and self.recipe.fade_to < 1:
            raise UsageError(f"the {self.recipe.settings} recipe fades its transforms; those of paper cannot")

    def to_json(self) -> dict[str, Any]:
        """What records say of it, in their order. `paper` is left out: records are older than protocols."""
        protocol = {} if self.protocol == UNSAID_PROTOCOL else {"protocol": self.protocol}
        return {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "capture": self.capture,
            "objective": self.objective,
            **protocol,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SetKey:
        """Of an object that says it as `to_json` does, and may say more.

        Raises KeyError for what is missing, and as `Recipe.from_json` does.
        """
        recipe = Recipe.from_json(data["recipe"])
        protocol = data.get("protocol", UNSAID_PROTOCOL)
        return cls(recipe, data["seed"], data["capture"], data["objective"], protocol)

    @property
    def folder(self) -> str:
        """Readable and content-addressed: `paper-2560-s0-exact-1a2b3c4d`, `…-exact-channel-…` for channel FZs."""
        # Sets are older than objectives and protocols: what all were is left out, so that names stay as they were.
        other: list[str] = [] if self.objective == "neuron" else [self.objective]
        other += [] if self.protocol == UNSAID_PROTOCOL else [self.protocol]
        text = json.dumps([self.recipe.to_json(), self.seed, self.capture, *other], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        named = [self.recipe.name, str(self.recipe.steps), f"s{self.seed}", self.capture, *other, digest]
        return "-".join(named)

    def __str__(self) -> str:
        return f"{self.recipe.name} recipe, {self.recipe.steps} steps, seed {self.seed}, capture {self.capture}" + (
            ("" if self.objective == "neuron" else f", {self.objective} objective")
            + ("" if self.protocol == UNSAID_PROTOCOL else f", protocol {self.protocol}")
        )
