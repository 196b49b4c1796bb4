"""FZs, measures, jobs and marks on disk. Never imports torch."""

from core.store.batches import FLAGS, SAMPLES, FZRecord
from core.store.layout import free_bytes
from core.store.sets import FZSet, Measured, Own
from core.store.store import FORMAT, Store

__all__ = ["FLAGS", "FORMAT", "SAMPLES", "FZRecord", "FZSet", "Measured", "Own", "Store", "free_bytes"]
