"""A model whose code or weights are gone, or were never here: what a store has of it stays readable. Never imports
torch."""

from __future__ import annotations

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store.store import Store


def stored_text(store: Store, spec: ModelSpec) -> str:
    """What the store knows a model by: `ModelSpec.text`; of one whose files are gone what it knew it by last. A bundle
    knows its own by its name alone.

    Raises as `ModelSpec.text` does where the files are gone and nothing is remembered.
    """
    if store.bundle is not None and is_bundled(store, spec):
        return store.bundle.alias
    if not spec.missing:
        return spec.text
    former = spec.former_texts
    found = [alias for alias in store.aliases() if former.fullmatch(alias.spec)]
    last = max(found, key=lambda alias: store.remembered_at(alias.spec), default=None)
    return spec.text if last is None else last.spec


def recall(store: Store, spec: ModelSpec) -> ModelInfo | None:
    """As `Store.recall`, shown photographs as was said or as its weights want. Raises as `stored_text` does."""
    if is_bundled(store, spec):
        return store.bundled
    known = store.recall(stored_text(store, spec))
    return spec.showing(known) if known is not None else None


def is_bundled(store: Store, spec: ModelSpec) -> bool:
    """Whether a model that is named, with nothing more said of it, is a bundle's own, whatever weights those are."""
    named = spec == ModelSpec(spec.name, code=spec.code)
    return store.bundle is not None and named and spec.name == store.bundle.model
