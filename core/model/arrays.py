"""Types of NumPy arrays, by what their numbers are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
"""As networks give them and the store keeps them."""
Float64Array = NDArray[np.float64]
"""As they are reckoned with; NaN means unknown."""
FloatArray = NDArray[np.floating]
"""Of either precision."""
Pixels = NDArray[np.uint8]
"""An image (side, side, 3), or several (n, side, side, 3), in RGB."""
