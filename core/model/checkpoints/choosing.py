"""Which set of keys of a checkpoint is the network asked for; and the line that says what was done to get it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from streamscope.core.errors import ChoiceError, MisfitError, WeightsError
from streamscope.core.model.checkpoints.appearance import appearance, block_counts, fitting_architecture, stem_problem
from streamscope.core.model.checkpoints.contents import Contents
from streamscope.core.model.checkpoints.file_kinds import WHOLE_MODEL
from streamscope.core.model.checkpoints.key_sets import (
    TOP,
    Container,
    Expected,
    KeySet,
    State,
    containers,
    is_average,
    is_momentum,
    key_sets,
)
from streamscope.core.model.checkpoints.pickles import attributes, is_module

_NAMED = 3
"""Keys that are named of many."""
_NORMALISER = re.compile(r"(^|\.)(normali[sz]er?|norm_layer)\.|(^|\.)new_(mean|std)$")
_QUEUE = re.compile(r"(^|\.)queue(_ptr)?$")
_HEAD = re.compile(r"(^|[._])(proj\w*|\w*head\w*|mlp|predictor|prototypes?|contrast\w*)(\d*)(\.|$)|^fc\.")
_POSITIONS = re.compile(r"(^|[._])pos(ition(al)?)?_embed|relative_position|(^|\.)attn_mask")
_OPTIMISER = re.compile(r"optim", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """The set of keys that is the network: its tensors by its own names, and what was done to find them."""

    key_set: KeySet
    state: State
    """Backbone, and classifier where there is one; nothing else."""
    line: str
    """"" for what is a plain state dict of the network's."""

    @property
    def classes(self) -> int | None:
        """How many classes the classifier tells apart; None where there is none."""
        weight = self.state.get(f"{self.key_set.expected.classifier}.weight")
        return None if weight is None else len(weight)


def choose(contents: Contents, name: str, expected: Expected, entry: str = "") -> Choice:
    """The one set of keys that fits the network called `name`.

    `entry` names one of several: words of where it is, such as `teacher` or `state_dict.module`. Raises ChoiceError
    where several fit and differ, MisfitError or WeightsError where none does.
    """
    found = list(containers(contents.tree))
    sets = [key_set for container in found for key_set in key_sets(container, expected)]
    fitting = [key_set for key_set in sets if not key_set.problems]
    if not fitting:
        raise _misfit(contents, name, expected, found, sets)
    chosen = _pick(contents, name, _named(contents, fitting, entry) if entry else fitting, bool(entry))
    state = dict(chosen.backbone)
    if not _head_of_contrast(chosen, sets):
        state.update(_classifier(chosen))
    _check_numbers(contents, state)
    return Choice(chosen, state, _line(contents, chosen, state, found, sets))


def _named(contents: Contents, fitting: Sequence[KeySet], entry: str) -> list[KeySet]:
    """The sets that `entry` means: the one called so, else those with its words one after another."""
    bare = entry.strip(".") or TOP
    exact = [key_set for key_set in fitting if key_set.label == bare]
    words = bare.split(".")
    within = [
        key_set
        for key_set in fitting
        if any(list(key_set.words[i : i + len(words)]) == words for i in range(len(key_set.words)))
    ]
    if not exact and not within:
        raise ChoiceError(f"{contents.source} has no weights called {entry!r} that fit; it has {_labels(fitting)}")
    return exact or within


def _pick(contents: Contents, name: str, fitting: Sequence[KeySet], by_name: bool) -> KeySet:
    """The only set, or the first of equal ones. An average or a momentum encoder is taken only when it is named."""
    ordinary = fitting if by_name else [s for s in fitting if not s.average and not s.momentum]
    if not ordinary:
        kinds = dict.fromkeys("averages" if s.average else "momentum encoders" for s in fitting)
        raise ChoiceError(
            f"{contents.source} has no weights that fit {name} but {' and '.join(kinds)}: {_labels(fitting)}"
        )
    distinct: list[KeySet] = []
    for key_set in ordinary:
        if not any(_same(key_set.backbone, other.backbone) for other in distinct):
            distinct.append(key_set)
    if len(distinct) > 1:
        raise ChoiceError(
            f"{contents.source} has {len(distinct)} sets of weights that fit {name} and differ: {_labels(distinct)}"
        )
    # Of equal ones those with a classifier say more.
    alike = [key_set for key_set in ordinary if f"{key_set.expected.classifier}.weight" in key_set.state] or [
        distinct[0]
    ]
    classifiers: list[KeySet] = []
    for key_set in alike:
        if not any(_same(key_set.classifier, other.classifier) for other in classifiers):
            classifiers.append(key_set)
    if len(classifiers) > 1:
        raise ChoiceError(
            f"{contents.source} has {len(classifiers)} sets of weights that fit {name} and differ in their classifier: "
            f"{_labels(classifiers)}"
        )
    return classifiers[0]


def _same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k].float(), second[k].float()) for k in first)


def _labels(sets: Sequence[KeySet]) -> str:
    """What sets of keys are called: by a word that no other of them has, where there is one."""

    def shortest(key_set: KeySet) -> str:
        others = {word for other in sets if other is not key_set for word in other.words}
        return next((word for word in key_set.words if word not in others), key_set.label)

    return ", ".join(dict.fromkeys(map(shortest, sets)))


def _classifier(key_set: KeySet) -> State:
    """Its classifier, of any width; empty where there is none, or something else has its name."""
    name, shapes = key_set.expected.classifier, key_set.expected.shapes
    weight, bias = (key_set.classifier.get(f"{name}.{part}") for part in ("weight", "bias"))
    if weight is None or weight.ndim != 2 or weight.shape[1] != shapes[f"{name}.weight"][1]:
        return {}
    if bias is None:
        return {f"{name}.weight": weight}
    return dict(key_set.classifier) if bias.shape == weight.shape[:1] else {}


def _head_of_contrast(key_set: KeySet, sets: Iterable[KeySet]) -> bool:
    """Whether what is called `fc` is a projection head: beside a momentum encoder or a queue nothing is classified."""
    beside = any(other.momentum for other in sets if other.container is key_set.container and other is not key_set)
    return beside or any(_QUEUE.search(key) for key in key_set.container.tensors)


def _check_numbers(contents: Contents, state: State) -> None:
    """Raises WeightsError for weights that are no finite numbers with a fraction."""
    whole = [k for k, v in state.items() if not v.is_floating_point()]
    if whole:
        dtype = str(state[whole[0]].dtype).removeprefix("torch.")
        raise WeightsError(f"{contents.source} has weights of {dtype}, which must be unquantised ({whole[0]})")
    broken = [k for k, v in state.items() if not bool(torch.isfinite(v).all())]
    if broken:
        raise WeightsError(f"{contents.source} has weights that are not finite ({', '.join(broken[:_NAMED])})")


def _line(
    contents: Contents,
    chosen: KeySet,
    state: State,
    found: Sequence[Container],
    sets: Sequence[KeySet],
) -> str:
    done = []
    if chosen.container.path:
        done.append(f"unwrapped {'.'.join(chosen.container.path)}")
    if chosen.prefix:
        done.append(f"dropped the prefix {chosen.prefix}")
    if chosen.renamed:
        done.append(f"{chosen.renamed} names made torchvision's")
    dtypes = {str(v.dtype).removeprefix("torch.") for v in state.values()} - {"float32"}
    if dtypes:
        done.append(f"{' and '.join(sorted(dtypes))} weights read as float32")
    parts = [", ".join(done)] if done else []
    classifier, shapes = chosen.expected.classifier, chosen.expected.shapes
    weight = f"{classifier}.weight"
    if classifier and weight not in state:
        parts.append("no classifier")
    elif classifier and len(state[weight]) != shapes[weight][0]:
        parts.append(f"{classifier} has {len(state[weight])} classes")
    aside = _left_aside(contents, chosen, state, found, sets)
    if aside:
        parts.append(f"left aside {', '.join(aside)}")
    return "; ".join(parts)


def _left_aside(
    contents: Contents, chosen: KeySet, state: State, found: Sequence[Container], sets: Sequence[KeySet]
) -> list[str]:
    """What else the file has, of each kind once. Single numbers and the state of generators are not worth a word."""
    kinds: dict[str, dict[str, None]] = {}
    consumed = {(key_set.container.path, key) for key_set in sets for key in key_set.consumed}
    consumed |= {(s.container.path, s.keys[key]) for s in sets if s is not chosen for key in s.classifier}
    consumed |= {(chosen.container.path, chosen.keys[key]) for key in state}
    for other in sets:
        if (other.container, other.prefix) == (chosen.container, chosen.prefix):
            continue  # The same tensors, or these by other names.
        if other.average:
            kinds.setdefault("an average", {})[other.average] = None
        elif other.momentum:
            kinds.setdefault("the momentum encoder", {})[other.momentum] = None
        elif not _same(other.backbone, chosen.backbone):
            kinds.setdefault("other weights", {})[other.label] = None
    for container in found:
        for key, value in container.tensors.items():
            words = (*container.path, *key.split("."))
            if value.ndim == 0 or value.dtype == torch.uint8 or (container.path, key) in consumed:
                continue
            if any(is_average(word) or is_momentum(word) for word in words[:-1]):
                continue
            kind, part = _kind(container, key.removeprefix(chosen.prefix), chosen)
            kinds.setdefault(kind, {})[part] = None
    if any(_OPTIMISER.search(str(key)) and value for key, value in attributes(contents.tree).items()):
        kinds["an optimiser"] = {}
    return [_shown(kind, [name for name in names if name]) for kind, names in kinds.items()]


def _kind(container: Container, key: str, chosen: KeySet) -> tuple[str, str]:
    """What a tensor that is not of the network belongs to, and the name of that."""
    if any(_OPTIMISER.search(word) for word in container.path):
        return "an optimiser", ""
    if _NORMALISER.search(key):
        return "the buffers of a normaliser", ""
    if _QUEUE.search(key):
        return "a queue", ""
    head = _HEAD.search(key)
    if head:
        return "a projection head", re.sub(r"(\.\d+)?\.?$", "", key[: head.end()])
    return "other tensors", ".".join(
        (*(container.path if container is not chosen.container else ()), key.split(".")[0])
    )


def _shown(kind: str, names: Sequence[str]) -> str:
    more = ", …" if len(names) > _NAMED else ""
    return f"{kind} ({', '.join(names[:_NAMED])}{more})" if names else kind


def _misfit(
    contents: Contents, name: str, expected: Expected, found: Sequence[Container], sets: Sequence[KeySet]
) -> WeightsError:
    """Why nothing in a file fits: what it looks like, where that is known, else which keys are wrong."""
    source = contents.source
    module = next((str(key) for key, value in attributes(contents.tree).items() if is_module(value)), None)
    if module is not None and not sets:
        return WeightsError(f"{source} {WHOLE_MODEL} (it is its entry {module!r})")
    if not found:
        return WeightsError(
            f"{source} holds no state dict (a dict of tensors); save model.state_dict() with torch.save"
        )
    other = fitting_architecture(found, name)
    nearest = min(sets, key=lambda s: sum(len(keys) for _, keys in s.problems), default=None)
    if nearest is not None:
        stem = stem_problem(nearest, expected.shapes) if expected.is_resnet and not other else ""
        if stem:
            return WeightsError(f"{source} does not fit {name}: {stem}")
        parts = [
            f"{len(keys)} {what} ({', '.join(keys[:_NAMED])}{', …' if len(keys) > _NAMED else ''})"
            for what, keys in nearest.problems
        ]
        error = f"{source} does not fit {name}: keys {'; '.join(parts)}"
        if other:
            return MisfitError(f"{error}; it fits {other}")
        looks = appearance(nearest.state) if expected.is_resnet else ""
        reason = f"it looks like {looks}" if looks else _reason(nearest)
        return WeightsError(f"{error}; {reason}" if reason else error)
    if other:
        return MisfitError(f"{source} does not fit {name}; it fits {other}")
    keys = {key: value for container in found for key, value in container.tensors.items()}
    looks = appearance(keys)
    if looks:
        return WeightsError(f"{source} does not fit {name}: it looks like {looks}")
    shown = ", ".join([*keys][:_NAMED]) + (", …" if len(keys) > _NAMED else "")
    return WeightsError(f"{source} does not fit {name}: no key in it ends in {expected.anchor} (it has {shown})")


def _reason(nearest: KeySet) -> str:
    """Why its keys do not fit, as the end of a sentence; "" where nothing more is to be said."""
    if all(_POSITIONS.search(key) for _, keys in nearest.problems for key in keys):
        return "its position embeddings are for another input size (--input-size)"
    return block_counts(nearest.state)
