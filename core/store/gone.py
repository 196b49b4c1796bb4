"""A model whose code or weights are gone: what a store has of it stays readable. Never imports torch."""

from __future__ import annotations

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store.store import Store


def stored_text(store: Store, spec: ModelSpec) -> str:
    """What the store knows a model by: `ModelSpec.text`; of one whose files are gone what it knew it by last.

    Raises as `ModelSpec.text` does where the files are gone and nothing is remembered.
    """
    if not spec.missing:
        return spec.text
    former = spec.former_texts
    found = [alias for alias in store.aliases() if former.fullmatch(alias.spec)]
    last = max(found, key=lambda alias: store.remembered_at(alias.spec), default=None)
    return spec.text if last is None else last.spec


def recall(store: Store, spec: ModelSpec) -> ModelInfo | None:
    """As `Store.recall`, shown photographs as was said or as its weights want. Raises as `stored_text` does."""
    known = store.recall(stored_text(store, spec))
    return spec.showing(known) if known is not None else None
