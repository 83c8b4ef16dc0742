"""Unit quaternions x, y, z, w. scipy has them, too, but all nodes would have to import it at their start."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Quaternion = tuple[float, float, float, float]


def from_rotation_vector(rotation_vector: npt.ArrayLike) -> Quaternion:
    """The rotation about an axis, whose length is the angle in radians."""
    vector = np.asarray(rotation_vector, np.float64).ravel()
    angle = float(np.linalg.norm(vector))
    x, y, z = (vector / angle * math.sin(angle / 2)).tolist() if angle > 0 else (0.0, 0.0, 0.0)
    return x, y, z, math.cos(angle / 2)


def product(one: Quaternion, other: Quaternion) -> Quaternion:
    """First ``other``, then ``one``: the orientation of a frame that is fixed to something, as the thing is turned."""
    ax, ay, az, aw = one
    bx, by, bz, bw = other
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )
