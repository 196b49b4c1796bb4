"""The demo model had other weights once: what a store has of those stays readable. Never imports torch."""

from __future__ import annotations

from streamscope.core.model.spec import DEMO_MODEL, FORMER_DEMO, ModelSpec
from streamscope.core.store.gone import stored_text
from streamscope.core.store.store import Store


def stored_spec(store: Store, spec: ModelSpec) -> ModelSpec:
    """The model whose FZs are read where `spec` is asked for: of `demo` the former one where only that has any."""
    former = ModelSpec(FORMER_DEMO)
    if spec == ModelSpec(DEMO_MODEL) and _has_sets(store, former) and not _has_sets(store, spec):
        return former
    return spec


def _has_sets(store: Store, spec: ModelSpec) -> bool:
    info = store.recall(stored_text(store, spec))
    return info is not None and bool(store.sets(info))
