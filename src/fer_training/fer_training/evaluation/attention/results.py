"""What ``explain`` measures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fer_perception.evaluation.results import RESAMPLES, Interval, Result, ResultFile, interval
from fer_training.datasets import Split


class Mean(Result):
    """The mean over ``n`` images with its bootstrap interval; None for no image, the interval also for one."""

    n: int
    mean: float | None
    interval: Interval | None

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Mean:
        """The mean of the finite of N values."""
        found = np.asarray(values, np.float64)
        found = found[np.isfinite(found)]
        count = len(found)
        if count < 2:
            return cls(n=count, mean=found[0] if count else None, interval=None)
        draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
        return cls(n=count, mean=found.mean(), interval=interval(draws @ found / count))


class MapFraction(Result):
    """How a map lies on eyes, brows and mouth, over ``n`` images in which it is not zero everywhere.

    ``fraction``: of the attention that is in the regions, with an interval by the standard error. ``ratio``: to that of
    uniform attention. ``size``: of the map, rows and columns. ``highest``: the fraction that a map of this size can
    reach. ``variation``: half the mean absolute difference to the mean map, 0 where all images have the same map, below
    1. ``contrast``: the mean of largest less smallest value, below 1 for attention, in logits for class activation. The
    fraction does not see the contrast: at 0.01 attention changes nothing, whatever its fraction. A mean of several maps
    has neither size, highest, variation nor contrast.
    """

    n: int
    fraction: float
    interval: Interval | None
    ratio: float
    size: tuple[int, int] | None = None
    highest: float | None = None
    variation: float | None = None
    contrast: float | None = None


class AreaUnderCurve(Mean):
    """The area under a deletion or insertion curve, and the mean ``curve``."""

    curve: list[float] | None


class Gain(Result):
    """How much smaller the deletion's area is than a control's, and how much larger the insertion's; same images."""

    deletion: Mean
    insertion: Mean


class MapCheck(Result):
    """One map or control.

    ``fraction`` on eyes, brows and mouth; ``pointing``: the fraction of images whose map has its largest value there
    (Zhang et al., 2018, arXiv:1608.00507); ``gain``: of maps, by control.
    """

    size: tuple[int, int]
    fraction: Mean
    pointing: Mean
    deletion: AreaUnderCurve
    insertion: AreaUnderCurve
    gain: dict[str, Gain] = Field(default_factory=dict)


class Reference(Result):
    """What a map without preference has."""

    fraction: float
    pointing: float


class Correlation(Result):
    """The rank correlation over the draws; None where it is not defined."""

    mean: float | None
    lowest: float | None
    highest: float | None


class Randomisation(Result):
    """Rank correlation of Grad-CAM with that of networks with ``depths`` of their feature layers randomised."""

    n: int
    draws: int
    depths: list[float]
    maps: dict[str, list[Correlation]]


class Checks(Result):
    """Whether maps can be believed, on ``n`` ``of`` all images. ``steps``: of the curves."""

    n: int
    of: int
    steps: int
    reference: Reference
    maps: dict[str, MapCheck]
    controls: dict[str, MapCheck]
    randomised: Randomisation


class Explanation(ResultFile):
    """What ``explain`` writes.

    ``reference``: the fraction that uniform attention has, which is the regions' of the crop. ``maps``: by name.
    ``absent``: by name, why there is no such map. ``checks``: None where none were asked for.
    """

    written_by = "python -m fer_training explain"
    run: str
    dataset: str
    split: Split
    sha256: str
    n: int
    reference: float
    maps: dict[str, MapFraction]
    absent: dict[str, str]
    checks: Checks | None = None
