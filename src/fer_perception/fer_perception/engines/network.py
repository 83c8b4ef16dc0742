"""What an engine runs: an ONNX file, and the shapes of what goes in and comes out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fer_perception.models.bundle import Bundle, Precision

Shape = tuple[int, ...]

# Most images show one face; more than these are processed in turns. A deep learning accelerator takes one size only.
LARGEST_BATCH = 16
# GPU memory to build in. More is not needed by networks of a few megabytes; a Nano shares 4 GB between everything.
WORKSPACE_MB = 256


class Shapes(NamedTuple):
    """Shapes of an input: from ``smallest`` to ``largest``, and fastest at ``usual``."""

    smallest: Shape
    usual: Shape
    largest: Shape

    @property
    def pattern(self) -> Shape:
        """The shape, with -1 where it is dynamic."""
        return tuple(least if least == most else -1 for least, most in zip(self.smallest, self.largest, strict=True))

    def are_taken_by(self, shape: Shape) -> bool:
        """Whether a file's input, -1 where it is dynamic, takes all of them."""
        sides = zip(shape, self.smallest, self.largest, strict=False)
        return len(shape) == len(self.usual) and all(
            size in (-1, least) and size in (-1, most) for size, least, most in sides
        )


class Network(NamedTuple):
    """An ONNX file with one input and some outputs, all float32.

    ``name``: for messages and the engines made of it. ``inputs``: what the engine must take. ``outputs``: in the file's
    order, -1 where any number will do.
    """

    name: str
    file: Path
    precision: Precision
    inputs: Shapes
    outputs: tuple[Shape, ...]


def bundle_network(bundle: Bundle, precision: Precision, dla_core: int = -1) -> Network:
    """A bundle's network: crops (N, C, H, W) to logits (N, labels).

    :param dla_core: -1 for the GPU or CPU, else a deep learning accelerator.
    :raises BundleError: the bundle has no such file, or another one than its manifest says.
    """
    spec = bundle.manifest.input
    one, most = ((count, spec.channels, spec.height, spec.width) for count in (1, LARGEST_BATCH))
    return Network(
        f"{bundle.manifest.name}-{precision}",
        bundle.onnx_file(precision),
        precision,
        Shapes(one, one, one if dla_core >= 0 else most),
        ((-1, len(bundle.manifest.labels)),),
    )


def fits(shape: Shape, pattern: Shape) -> bool:
    """Whether a shape is as wanted; -1 in the pattern stands for any number."""
    return len(shape) == len(pattern) and all(want in (-1, size) for size, want in zip(shape, pattern, strict=True))
