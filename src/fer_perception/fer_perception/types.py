"""Types that many modules share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt8Image = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

# x, y, width, height in pixels; x to the right, y down, the upper left pixel at 0, 0.
Box = tuple[int, int, int, int]
