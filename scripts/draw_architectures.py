#!/usr/bin/env python3
"""Draw the networks for the documentation; all sizes are those of the configured networks.

    python scripts/draw_architectures.py

Writes hybrid_attention.png and dual_adaptation.png into docs/images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Line

from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.networks.hybrid_attention import ATTENDED_STAGES, BACKBONES, HybridAttentionNetwork
from fer_training.networks.landmark_regions import BROW_LIFT, landmark_regions, region_maps
from fer_training.runs.config import load_config
from fer_training.runs.folder import build_network

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "src/fer_training/configs"
LABELS = 7
WIDTH = 1600  # of the pictures, in pixels
FONT, SMALL = 12.5, 11.0
INK, GREY = "#1f2933", "#5f6b7a"
# Fill and edge.
PLAIN, CONVOLUTION, ATTENTION = ("#f4f5f7", "#8a94a3"), ("#dce8f5", "#3a6ea5"), ("#ebe0f7", "#7a4fa3")
HEAD, TRAINING, ADVERSARY = ("#dff0e3", "#3f8f55"), ("#fdebd3", "#d07f1f"), ("#fbe4e4", "#b5474d")
Color = tuple[str, str]


class Box(NamedTuple):
    """A box's middle and size, in pixels; y grows upwards."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        """Middle of the left side."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        """Middle of the right side."""
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> tuple[float, float]:
        """Middle of the upper side."""
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> tuple[float, float]:
        """Middle of the lower side."""
        return self.x, self.y - self.height / 2


class Canvas:
    """A white picture, its unit the pixel."""

    def __init__(self, height: int, title: str) -> None:
        self.figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, WIDTH), ylim=(0, height), aspect="equal")
        self.axes.axis("off")
        self.text(WIDTH / 2, height - 32, title, size=16, weight="bold")

    def text(self, x: float, y: float, text: str, size: float = FONT, color: str = INK, **options: Any) -> None:
        """Text around a point; " x " becomes a multiplication sign."""
        options = {"ha": "center", "va": "center", "linespacing": 1.35, **options}
        self.axes.text(x, y, text.replace(" x ", " \u00d7 "), fontsize=size, color=color, zorder=5, **options)

    def box(self, box: Box, text: str, color: Color, dashed: bool = False, heading: str = "") -> Box:
        """A box with a text, below a bold heading if there is one."""
        fill, edge = color
        patch = FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2),
            box.width,
            box.height,
            "round,pad=0,rounding_size=9",
            facecolor=fill,
            edgecolor=edge,
            linewidth=1.6,
            linestyle="--" if dashed else "-",
            zorder=3,
        )
        self.axes.add_patch(patch)
        lines = text.count("\n") + 1 if text else 0
        if heading:
            self.text(box.x, box.y + 11.5 * lines, heading, weight="bold")
            self.text(box.x, box.y - 11.5, text, size=SMALL)
        else:
            self.text(box.x, box.y, text)
        return box

    def frame(self, box: Box, text: str, color: Color) -> None:
        """A frame around other things, its text at the top left."""
        fill, edge = color
        patch = FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2),
            box.width,
            box.height,
            "round,pad=0,rounding_size=14",
            facecolor=fill,
            edgecolor=edge,
            linewidth=1.2,
            alpha=0.35,
            zorder=0,
        )
        self.axes.add_patch(patch)
        self.text(box.left[0] + 18, box.top[1] - 24, text, ha="left", weight="bold", color=edge)

    def line(
        self,
        points: Sequence[tuple[float, float]],
        color: str = INK,
        arrow: bool = True,
        dashed: bool = False,
        width: float = 1.8,
    ) -> None:
        """Straight pieces from point to point, with a head at the last one."""
        corners = np.array(points, float)
        if arrow:
            step = corners[-1] - corners[-2]
            step /= np.hypot(*step)
            side = np.array([-step[1], step[0]])
            tip, base = corners[-1], corners[-1] - 12 * step
            self.axes.fill(
                *np.transpose([tip, base + 5.5 * side, base - 5.5 * side]), color=color, linewidth=0, zorder=4
            )
            corners[-1] = base + 2 * step
        self.axes.add_patch(
            PathPatch(
                Line(corners),
                facecolor="none",
                edgecolor=color,
                linewidth=width,
                capstyle="butt",
                joinstyle="round",
                linestyle=(0, (4, 2.5)) if dashed else "-",
                zorder=2,
            )
        )

    def operation(self, x: float, y: float, symbol: str, size: float = 15) -> Box:
        """A small circle."""
        self.axes.add_patch(Circle((x, y), 18, facecolor="white", edgecolor=INK, linewidth=1.6, zorder=3))
        self.text(x, y + 1, symbol, size=size)
        return Box(x, y, 36, 36)

    def junction(self, x: float, y: float, color: str = INK) -> None:
        """Where a line parts or lines meet."""
        self.axes.add_patch(Circle((x, y), 4.5, facecolor=color, linewidth=0, zorder=4))

    def grid(self, box: Box, cells: int, color: Color) -> Box:
        """A map of so many rows and columns."""
        fill, edge = color
        x, y = box.x - box.width / 2, box.y - box.height / 2
        self.axes.add_patch(Rectangle((x, y), box.width, box.height, facecolor=fill, edgecolor=edge, lw=1.6, zorder=3))
        for cell in range(1, cells):
            across, up = cell * box.width / cells, cell * box.height / cells
            self.axes.plot([x + across] * 2, [y, y + box.height], color=edge, linewidth=0.5, zorder=3)
            self.axes.plot([x, x + box.width], [y + up] * 2, color=edge, linewidth=0.5, zorder=3)
        return box

    def image(self, box: Box, pixels: np.ndarray, colors: str, edge: str) -> Box:
        """A map of values in 0..1."""
        x, y = box.x - box.width / 2, box.y - box.height / 2
        extent = (x, x + box.width, y, y + box.height)
        self.axes.imshow(pixels, cmap=colors, vmin=0, vmax=1, extent=extent, zorder=3, interpolation="bilinear")
        self.axes.add_patch(Rectangle((x, y), box.width, box.height, fill=False, edgecolor=edge, lw=1.6, zorder=3))
        self.axes.set(xlim=(0, WIDTH), ylim=(0, self.figure.get_figheight() * 100))
        return box

    def face(self, box: Box, color: Color) -> Box:
        """A face as the alignment template places it."""
        fill, edge = color
        x, y, side = box.x - box.width / 2, box.y + box.height / 2, box.width
        self.axes.add_patch(
            Rectangle((x, y - side), side, side, facecolor=fill, edgecolor=edge, linewidth=1.6, zorder=3)
        )
        right_eye, left_eye, mouth = FER2013_TEMPLATE.points(1, 1) + 0.5
        middle, eyes = (right_eye + left_eye) / 2, left_eye[0] - right_eye[0]

        def ellipse(at: Sequence[float], wide: float, high: float, solid: bool) -> None:
            shape = Ellipse(
                (x + at[0] * side, y - at[1] * side),
                wide * side,
                high * side,
                facecolor=edge if solid else "white",
                edgecolor=edge,
                linewidth=1.6,
                zorder=3,
            )
            self.axes.add_patch(shape)

        ellipse((middle[0], 0.52), 0.8, 0.9, solid=False)
        for eye in (right_eye, left_eye):
            ellipse(eye, 0.1, 0.1, solid=True)
            brow = (eye[0], eye[1] - BROW_LIFT * eyes)
            ellipse(brow, 0.2, 0.02, solid=True)
        ellipse(mouth, 0.3, 0.03, solid=True)
        return box

    def save(self, file: Path) -> None:
        """Write a PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.figure.savefig(file, dpi=100, facecolor="white")
        print(file)


class Layer(NamedTuple):
    """A part of a network: its name, number of blocks, and the output's channels, rows and columns."""

    name: str
    blocks: int
    channels: int
    rows: int
    columns: int

    @property
    def size(self) -> str:
        """Rows and columns."""
        return f"{self.rows} x {self.columns}"


class Described(NamedTuple):
    """A configured network and its parts: stem, stages, last convolution."""

    network: HybridAttentionNetwork
    backbone: str
    layers: list[Layer]
    input_shape: tuple[int, int, int]


def describe(config_file: Path) -> Described:
    """Build a network and run it once, to see the sizes of its parts."""
    config = load_config(config_file)
    network = build_network(config, LABELS).eval()
    assert isinstance(network, HybridAttentionNetwork)
    backbone = config.network.options.get("backbone", "mobilenet_v2")
    ends = [index for index, _ in BACKBONES[backbone](LABELS).stages]
    last = len(network.features) - 1
    ends = [0, *ends, last]
    names = ["stem", *(f"stage {number}" for number in range(1, len(ends) - 1)), "last conv"]
    shapes: dict[int, torch.Size] = {}
    for index, block in enumerate(network.features):
        block.register_forward_hook(lambda module, inputs, output, index=index: shapes.update({index: output.shape}))
    shape = (config.input.spec().channels, config.input.height, config.input.width)
    with torch.inference_mode():
        network(torch.zeros(1, *shape))
    layers = [
        Layer(name, end - before, *shapes[end][1:]) for name, before, end in zip(names, [-1, *ends], ends, strict=False)
    ]
    return Described(network, {"mobilenet_v2": "MobileNetV2"}.get(backbone, "EfficientNet-Lite0"), layers, shape)


def draw_hybrid_attention(file: Path) -> None:
    """The network, one of its attention modules, and the supervision of the attention maps."""
    network, backbone, layers, (channels, height, width) = describe(CONFIGS / "hybrid_attention_lite0.yaml")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    canvas = Canvas(970, f"Hybrid attention on {backbone}: {parameters / 1e6:.2f} million parameters")

    # The network, from left to right.
    y = 775
    before = canvas.face(Box(66, y, 100, 100), PLAIN)
    canvas.text(66, y - 74, f"face crop\n{channels} x {height} x {width}", size=SMALL, va="top", color=GREY)
    x, gap = 116.0, 26.5
    modules: list[Box] = []
    attended: list[Layer] = []
    for number, layer in enumerate(layers):
        tall = 78 + 30 * np.log2(layer.rows / layers[-1].rows)
        wide = 98 if layer is layers[-1] else 80
        text = f"{layer.channels} ch\n{layer.size}"
        box = canvas.box(Box(x + gap + wide / 2, y, wide, tall), text, CONVOLUTION, heading=layer.name)
        blocks = "" if number in (0, len(layers) - 1) else f"{layer.blocks} block" + "s" * (layer.blocks > 1)
        canvas.text(box.x, box.bottom[1] - 16, blocks, size=SMALL, color=GREY)
        canvas.line([before.right, box.left])
        before, x = box, box.right[0]
        if number in ATTENDED_STAGES:
            box = canvas.box(Box(x + gap + 46, y, 92, 78), "hybrid\nattention", ATTENTION)
            canvas.line([before.right, box.left])
            modules.append(box)
            attended.append(layer)
            before, x = box, box.right[0]
    features = network.classifier[-1].in_features
    box = canvas.box(Box(x + gap + 44, y, 88, 100), f"mean,\n{features},\nlinear", HEAD)
    canvas.line([before.right, box.left])
    canvas.line([box.right, (box.right[0] + gap + 3, y)])
    canvas.text(box.right[0] + gap + 8, y, f"{LABELS}\nlogits", ha="left")

    # The maps: outputs, and in training supervised.
    bus = 475.0
    maps = [
        canvas.grid(Box(module.x, 580, 92, 92), layer.rows, ATTENTION)
        for module, layer in zip(modules, attended, strict=True)
    ]
    for module, grid, layer in zip(modules, maps, attended, strict=True):
        canvas.line([module.bottom, grid.top], color=ATTENTION[1])
        canvas.text(grid.right[0] + 12, grid.y, f"attention map\n{layer.size}, in 0..1", size=SMALL, ha="left")
        canvas.line([grid.bottom, (grid.x, bus)], color=ATTENTION[1], arrow=False)
        canvas.junction(grid.x, bus, ATTENTION[1])
    outputs = canvas.box(Box(1385, bus, 260, 62), "attention maps,\nbeside the logits", ATTENTION)
    loss = canvas.box(
        Box(330, bus + 25, 190, 108),
        "distance of maps\nfrom the regions",
        TRAINING,
        dashed=True,
        heading="attention loss",
    )
    canvas.line([(maps[0].x, bus), outputs.left], color=ATTENTION[1])
    canvas.line([(maps[-1].x, bus), (loss.right[0], bus)], color=ATTENTION[1])
    regions = canvas.image(
        Box(110, bus + 25, 108, 108), landmark_regions(FER2013_TEMPLATE, width, height), "Oranges", TRAINING[1]
    )
    canvas.text(regions.x, regions.top[1] + 24, "landmark regions:\neyes, brows, mouth", size=SMALL)
    canvas.line([regions.right, loss.left], color=TRAINING[1])
    canvas.text(loss.x, loss.top[1] + 16, "in training only", size=SMALL, color=TRAINING[1])

    # One module.
    canvas.frame(Box(800, 208, 1560, 376), "inside a hybrid attention module", ATTENTION)
    inside: Any = network.attention.values()
    hidden = [module.channel.squeeze.out_channels for module in inside]
    sizes = ";  ".join(
        f"after {layer.name}: C = {layer.channels}, R = {inner}, h x w = {layer.size}"
        for layer, inner in zip(attended, hidden, strict=True)
    )
    canvas.text(1562, 372, sizes, size=SMALL, color=GREY, ha="right")
    low, high = 80.0, 230.0
    canvas.text(38, low, "C x h x w", ha="left")
    first, second = canvas.operation(690, low, "\u00d7"), canvas.operation(1420, low, "\u00d7")
    canvas.line([(128, low), first.left])
    canvas.line([first.right, second.left])
    for at in (155, 760):
        canvas.junction(at, low)
    canvas.line([second.right, (1468, low)])
    canvas.text(1476, low, "C x h x w", ha="left")
    channel = [
        canvas.box(Box(270, high, 150, 74), "mean over\nplaces", ATTENTION),
        canvas.box(Box(450, high, 150, 74), "1 x 1 conv,\nReLU", ATTENTION),
        canvas.box(Box(630, high, 150, 74), "1 x 1 conv,\n2 · sigmoid", ATTENTION),
    ]
    spatial = [
        canvas.box(Box(890, high, 170, 74), "mean, maximum\nover channels", ATTENTION),
        canvas.box(Box(1085, high, 150, 74), "7 x 7 conv, batch\nnorm, sigmoid", ATTENTION),
        canvas.grid(Box(1240, high, 74, 74), 6, ATTENTION),
    ]
    canvas.line([(155, low), (155, high), channel[0].left])
    canvas.line([(760, low), (760, high), spatial[0].left])
    for boxes in (channel, spatial):
        for one, other in pairwise(boxes):
            canvas.line([one.right, other.left])
    canvas.line([(690, channel[-1].bottom[1]), first.top])
    half = canvas.operation(1335, high, "+½", size=11)
    canvas.line([spatial[-1].right, half.left])
    canvas.line([half.right, (1420, high), second.top])
    for at, text in ((360, "C"), (540, "R")):
        canvas.text(at, high + 20, text, size=SMALL, color=GREY)
    canvas.text(676, 150, "C x 1 x 1", size=SMALL, color=GREY, ha="right")
    canvas.text(1434, 150, "1 x h x w", size=SMALL, color=GREY, ha="left")
    canvas.text(987, high - 54, "2 x h x w", size=SMALL, color=GREY)
    canvas.line([spatial[-1].top, (1240, 318)], color=ATTENTION[1])
    canvas.text(1254, 308, "attention map", size=SMALL, ha="left")
    canvas.text(450, 298, "channel attention", weight="bold", color=ATTENTION[1])
    canvas.text(987, 298, "spatial attention", weight="bold", color=ATTENTION[1])
    canvas.save(file)


def draw_dual_adaptation(file: Path) -> None:
    """The adaptation to unlabelled pictures: two branches, two domain classifiers, a teacher."""
    network, backbone, layers, (_, height, width) = describe(CONFIGS / "dual_adaptive.yaml")
    inner = layers[max(ATTENDED_STAGES)]
    parts: Any = network
    global_features, local_features = network.classifier[-1].in_features, parts.local_classifier.in_features
    canvas = Canvas(1090, f"Dual-attention domain adaptation ({backbone}, {height} x {width} pixels)")
    blue, orange, red = CONVOLUTION[1], TRAINING[1], ADVERSARY[1]

    # Pictures.
    upper, lower, bottom = 800.0, 550.0, 115.0
    source = canvas.face(Box(90, upper, 110, 110), CONVOLUTION)
    canvas.text(source.x, source.bottom[1] - 32, "source pictures,\nlabelled", size=SMALL)
    target = canvas.face(Box(90, 350, 110, 110), TRAINING)
    canvas.text(target.x, target.bottom[1] - 32, "target pictures,\nunlabelled", size=SMALL)
    strong = canvas.box(Box(275, upper, 120, 66), "strong\nchanges", CONVOLUTION)
    target_strong = canvas.box(Box(275, lower, 120, 66), "strong\nchanges", TRAINING)
    weak = canvas.box(Box(275, bottom, 120, 66), "weak\nchanges", TRAINING)
    canvas.line([source.right, strong.left], color=blue)
    canvas.line([target.right, (180, target.y), (180, lower), target_strong.left], color=orange)
    canvas.line([(180, target.y), (180, bottom), weak.left], color=orange)
    canvas.junction(180, target.y, orange)

    # The network that learns.
    frame = Box(785, 668, 762, 480)
    canvas.frame(frame, "network: all that runs on the robot", PLAIN)
    trunk = canvas.box(
        Box(510, (upper + lower) / 2, 164, 350),
        f"stem to {inner.name}\nwith hybrid\nattention\n\n{inner.channels} x {inner.size}",
        CONVOLUTION,
    )
    canvas.line([strong.right, (trunk.left[0], upper)], color=blue)
    canvas.line([target_strong.right, (trunk.left[0], lower)], color=orange)
    tail = canvas.box(
        Box(748, upper, 210, 96),
        f"{layers[-3].name}, {layers[-2].name},\n{layers[-1].name}, mean",
        CONVOLUTION,
        heading="global branch",
    )
    local = canvas.box(Box(748, lower, 210, 196), "", ATTENTION)
    canvas.text(local.x, local.top[1] - 22, "local branch", weight="bold")
    canvas.text(local.x, local.bottom[1] + 36, "attention pooling inside\neach region, linear", size=SMALL)
    for place, (name, pixels) in enumerate(
        zip(("eyes", "brows", "mouth"), region_maps(FER2013_TEMPLATE, width, height), strict=True)
    ):
        tile = canvas.image(Box(local.x + 64 * (place - 1), lower + 7, 54, 54), pixels, "Purples", ATTENTION[1])
        canvas.text(tile.x, tile.top[1] + 8, name, size=SMALL - 1.5, va="baseline")
    branches = ((tail, global_features, 980.0), (local, local_features, 350.0))
    total = canvas.operation(1125, (upper + lower) / 2, "+")
    for branch, features, row in branches:
        canvas.line([(trunk.right[0], branch.y), branch.left])
        linear = canvas.box(Box(1058, branch.y, 90, 50), "linear", HEAD)
        canvas.line([branch.right, linear.left])
        canvas.text(938, branch.y + (20 if branch is tail else -20), f"{features} features", size=SMALL, color=GREY)
        canvas.line([linear.right, (total.x, branch.y), total.top if branch is tail else total.bottom])
        # Where do the features come from?
        canvas.junction(880, branch.y)
        reversal = canvas.box(Box(1020, row, 170, 62), "gradient\nreversal", ADVERSARY)
        canvas.line([(880, branch.y), (880, row), reversal.left], color=red)
        domain = canvas.box(Box(1300, row, 230, 76), "source or target?", ADVERSARY, heading="domain classifier")
        canvas.line([reversal.right, domain.left], color=red)

    # What is learnt.
    split = 1268.0
    labels = canvas.box(
        Box(1450, upper - 40, 236, 104), "cross-entropy\nwith the labels", CONVOLUTION, heading="source"
    )
    adopted = canvas.box(
        Box(1450, lower + 40, 236, 104), "cross-entropy with pseudo-\nlabels, where trusted", TRAINING, heading="target"
    )
    canvas.line([total.right, (split, total.y)], arrow=False)
    canvas.junction(split, total.y)
    canvas.text(1217, total.y + 18, f"{LABELS} logits", size=SMALL, color=GREY)
    canvas.line([(split, total.y), (split, labels.y), labels.left], color=blue)
    canvas.line([(split, total.y), (split, adopted.y), adopted.left], color=orange)

    # The teacher.
    teacher = canvas.box(Box(510, bottom, 220, 104), "the network with\naveraged weights", TRAINING, heading="teacher")
    canvas.line([weak.right, teacher.left], color=orange)
    canvas.line([(510, frame.bottom[1]), teacher.top], color=GREY, dashed=True)
    canvas.text(524, 300, "moving average\n(EMA)", size=SMALL, color=GREY, ha="left")
    threshold = canvas.box(Box(970, bottom, 400, 150), "", TRAINING)
    canvas.line([teacher.right, threshold.left], color=orange)
    canvas.text(695, bottom + 20, "probabilities", size=SMALL, color=GREY)
    canvas.text(threshold.x, threshold.top[1] - 22, "adaptive threshold of each class", weight="bold")
    canvas.text(906, bottom - 16, "follows the teacher's confidence\nand how often it names the class", size=SMALL)
    for number, level in enumerate((0.62, 0.3, 0.45, 0.95, 0.6, 0.75, 0.85)):  # only to look at
        x, floor = 1052 + 14 * number, bottom - 56
        canvas.axes.add_patch(Rectangle((x, floor), 9, 74 * level, facecolor=orange, linewidth=0, zorder=4))
    pseudo = canvas.box(
        Box(1450, bottom, 236, 104), "of the pictures\nabove the threshold", TRAINING, heading="pseudo-labels"
    )
    canvas.line([threshold.right, pseudo.left], color=orange)
    canvas.line([pseudo.top, adopted.bottom], color=orange)
    canvas.save(file)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    options = parser.parse_args()
    draw_hybrid_attention(options.out / "hybrid_attention.png")
    draw_dual_adaptation(options.out / "dual_adaptation.png")


if __name__ == "__main__":
    main()
