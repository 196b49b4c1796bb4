"""float32 numbers in the fewest digits that tell them apart."""

from __future__ import annotations

import numpy as np

from streamscope.core.model.arrays import Float64Array


def shortest_decimals(values: Float64Array) -> Float64Array:
    """Finite numbers in the fewest digits that are the same in float32, as activations are: 0.1 for 0.10000000149.

    float32 needs 6 to 9 digits. Dividing by a power of ten that float64 holds exactly gives the very float64 that
    Python reads a decimal as, so its own text is short too; NumPy's slow text serves the few numbers out of that range.
    """
    with np.errstate(over="ignore"):
        exact = values.astype(np.float32)
    size = np.abs(exact.astype(np.float64))
    usual = (size > 1e-12) & (size < 1e15)
    magnitude = np.floor(np.log10(np.where(usual, size, 1.0)))
    found = np.where(usual, np.nan, exact)
    for digits in range(6, 10):
        places = digits - 1 - magnitude
        up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
        rounded = np.round(exact.astype(np.float64) * up / down) / up * down
        found = np.where(np.isnan(found) & (rounded.astype(np.float32) == exact), rounded, found)
    for row in np.flatnonzero(np.isnan(found) | (~usual & (size > 0))).tolist():
        found[row] = float(str(exact[row]))
    return found
