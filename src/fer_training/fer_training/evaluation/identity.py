"""The verb ``identify``: how well people can be told apart by what each privacy mode publishes.

The images are those of a manifest (docs/training.md) whose file names name people, as in First_Last_0001.jpg; others
are left out. An attacker knows half of each person's images by name and names the person in each image of the other
half: by the nearest neighbour (standardised features, Euclidean distance), or by a linear probe (logistic regression on
standardised features, reduced to 128 principal components where there are more). What he gets of an image:

    crop            the aligned crop's pixels; mode off
    mesh            the 478 points, in distances between the eyes and turned level; mode no_images
    keypoints       box and five key points, in pixels and as the mesh; mode no_images
    coarse_box      the box on strict's grid
    distribution    the emotions' probabilities; mode strict
    label           the most probable emotion alone: strict's least
    embedding       what the network's last layer gets; no mode publishes it

A mode publishes what the stricter ones do, too. Chance is to always name the person with the most known images, or
anyone.
"""

from __future__ import annotations

import re
import warnings
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from fer_perception.emotions.classifier import softmax
from fer_perception.errors import FerError
from fer_perception.evaluation.results import RESAMPLES, Interval, Result, ResultFile, interval
from fer_perception.faces.face import Face
from fer_perception.faces.finder import open_finder
from fer_perception.faces.single_face import find_one_face
from fer_perception.models.bundle import Bundle
from fer_perception.preprocessing.alignment import align
from fer_perception.preprocessing.normalization import to_batch
from fer_perception.privacy import coarse_box
from fer_perception.types import Box, Float32Array, UInt8Image
from fer_training.datasets import SPLITS
from fer_training.datasets.manifest import list_manifest
from fer_training.datasets.photographs import Photograph, read_image
from fer_training.evaluation.attention.results import Mean
from fer_training.evaluation.text import aligned, percent

PERSON = re.compile(r"(.+)_\d{4}\.\w+")
COMPONENTS = 128
BATCH_SIZE = 64
MODES = {
    "crop": "off",
    "mesh": "no_images",
    "keypoints": "no_images",
    "coarse_box": "strict",
    "distribution": "strict",
    "label": "",
    "embedding": "",
}


class Fraction(Result):
    """Of persons named rightly, with its interval over resampled persons."""

    fraction: float
    interval: Interval


class Identified(Result):
    """By one kind of features of so many ``values``. ``mode``: the strictest that publishes them; empty: none."""

    mode: str
    values: int
    nearest_neighbour: Fraction
    linear_probe: Fraction


class Chance(Result):
    """Persons named rightly without looking."""

    most_frequent: float
    uniform: float


class IdentityResult(ResultFile):
    """What ``identify`` writes. ``identified``: by features."""

    written_by = "python -m fer_training identify --json"
    model: str
    persons: int
    known_images: int
    asked_images: int
    chance: Chance
    emotion_accuracy: Mean
    identified: dict[str, Identified]


class Portrait(NamedTuple):
    """An image of a named person. ``target``: its emotion, -1 where the label is not to be used."""

    person: str
    photograph: Photograph
    target: int


class Observed(NamedTuple):
    """What is known of N images in which a face was found.

    ``persons``: (N,). ``features``: by name (N, values). ``is_known``: (N,), the attacker knows the person's name.
    ``emotion_hits``: 1 and 0 for each image whose emotion label is used.
    """

    persons: npt.NDArray[np.str_]
    features: dict[str, Float32Array]
    is_known: npt.NDArray[np.bool_]
    emotion_hits: npt.NDArray[np.float64]


def find_portraits(manifest: Path, most: int) -> tuple[tuple[str, ...], list[Portrait]]:
    """The labels, and the named images of all splits of the persons with at least two, in a fixed order.

    :param most: take at most so many images of one person, so that the frequent ones do not decide the figures.
    :raises FerError: the manifest cannot be read, or fewer than two persons have two images.
    """
    by_person: dict[str, list[Portrait]] = {}
    labels: tuple[str, ...] = ()
    for split in SPLITS:
        listing = list_manifest(manifest, split)
        labels = listing.labels
        for photograph in listing.photographs:
            if match := PERSON.fullmatch(photograph.file.name):
                target = -1 if split == "adapt" else photograph.target
                by_person.setdefault(match[1], []).append(Portrait(match[1], photograph, target))
    portraits: list[Portrait] = []
    rng = np.random.default_rng(0)
    for person in sorted(by_person):
        found = sorted(by_person[person], key=lambda portrait: portrait.photograph.file.name)
        if len(found) > 1:
            portraits += [found[index] for index in rng.permutation(len(found))[:most]]
    if len({portrait.person for portrait in portraits}) < 2:
        raise FerError(
            f"{manifest}: fewer than two persons have two images. Name the files First_Last_0001.jpg, "
            "First_Last_0002.jpg and so on"
        )
    return labels, portraits


def observe(model: Path, labels: tuple[str, ...], portraits: list[Portrait]) -> Observed:
    """Find the faces, run the network, and give a half of each person's images to the attacker.

    Persons with fewer than two found faces are left out.

    :raises FerError: model or images cannot be used, or too few faces are found.
    """
    bundle = Bundle(model)
    spec, template = bundle.manifest.input, bundle.manifest.alignment
    faces: list[Face] = []
    crops: list[UInt8Image] = []
    kept: list[Portrait] = []
    boxes: list[Box] = []
    with closing(open_finder()) as finder:
        for portrait in tqdm(portraits, unit="image", mininterval=1.0):
            image = read_image(portrait.photograph.file, portrait.photograph.where)
            found = find_one_face(finder, image)
            face = finder.with_meshes(image, [found])[0] if found else None
            if face is None or face.mesh is None:
                continue
            source = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if spec.color == "grey" else image
            crops.append(align(source, face.eyes_and_mouth, template, spec.width, spec.height))
            faces.append(face)
            boxes.append(coarse_box(face.box, image.shape[1], image.shape[0]))
            kept.append(portrait)
    names = np.array([portrait.person for portrait in kept], np.str_)
    unique, numbers, counts = np.unique(names, return_inverse=True, return_counts=True)
    enough = np.flatnonzero(counts[numbers] > 1) if len(names) else np.empty(0, np.int64)
    if len(np.unique(names[enough])) < 2:
        raise FerError(
            f"faces were found in {len(kept)} of {len(portraits)} images, of {len(unique)} persons: two persons with "
            "two each are needed. Give larger or clearer images"
        )
    logits, embedding = embed(bundle, [crops[index] for index in enough])
    probabilities = softmax(logits / bundle.manifest.temperature)
    pixels = np.stack([crops[index].reshape(-1) for index in enough]).astype(np.float32)
    # Probabilities close to 0 differ by orders of magnitude, which only the logarithm shows to a linear probe.
    distribution = np.log(np.maximum(probabilities, 1e-6))
    shown = [labels[kept[index].target] if kept[index].target >= 0 else "" for index in enough]
    predicted = [bundle.manifest.labels[column] for column in probabilities.argmax(1)]
    features = {
        "crop": pixels,
        "mesh": np.stack([mesh_shape(faces[index]) for index in enough]),
        "keypoints": np.stack([keypoints_and_box(faces[index]) for index in enough]),
        "coarse_box": np.asarray([boxes[index] for index in enough], np.float32),
        "distribution": distribution,
        "label": np.eye(len(bundle.manifest.labels), dtype=np.float32)[probabilities.argmax(1)],
        "embedding": embedding,
    }
    hits = [float(a == b) for a, b in zip(shown, predicted, strict=True) if a in bundle.manifest.labels]
    return Observed(names[enough], features, known_half(names[enough]), np.asarray(hits))


def embed(bundle: Bundle, crops: list[UInt8Image]) -> tuple[Float32Array, Float32Array]:
    """Logits (N, labels), and what the network's last layer gets (N, values); of summed ones what all of them get.

    :raises FerError: the bundle's FP32 file does not end in linear layers.
    """
    file = bundle.onnx_file()
    graph = onnx.load(file)
    inputs = _inputs_of_last(graph.graph, graph.graph.output[0].name, file)
    graph.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, inputs))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    parts = [
        session.run(None, {source: to_batch(crops[start : start + BATCH_SIZE], bundle.manifest.input)})
        for start in range(0, len(crops), BATCH_SIZE)
    ]
    logits, *embeddings = (np.concatenate(found) for found in zip(*parts, strict=True))
    return logits, np.concatenate(embeddings, 1)


def _inputs_of_last(graph: onnx.GraphProto, output: str, file: Path) -> list[str]:
    """What the linear layers get whose sum is an output: one, or several branches'."""
    node = next(node for node in graph.node if output in node.output)
    if node.op_type in ("Gemm", "MatMul"):
        return [node.input[0]]
    weights = {tensor.name for tensor in graph.initializer}
    terms = [name for name in node.input if name not in weights]
    if node.op_type != "Add" or not terms:
        raise FerError(f"{file}: ends in {node.op_type}, not in a linear layer, so its embedding is not known")
    return [name for term in terms for name in _inputs_of_last(graph, term, file)]


def keypoints_and_box(face: Face) -> Float32Array:
    """Box and key points in pixels, and key points in distances between the eyes, turned level: float32, (24,)."""
    turn, _ = _levelling(face)
    right, left = face.keypoints[:2]
    relative = (face.keypoints - (right + left) / 2) @ turn.T
    return np.concatenate([face.box, face.keypoints.ravel(), relative.ravel()]).astype(np.float32)


def mesh_shape(face: Face) -> Float32Array:
    """The mesh around its middle, in distances between the eyes, turned level: float32, (1434,)."""
    assert face.mesh is not None
    turn, scale = _levelling(face)
    middle = face.mesh - face.mesh.mean(axis=0)
    return np.column_stack([middle[:, :2] @ turn.T, middle[:, 2] * scale]).ravel().astype(np.float32)


def _levelling(face: Face) -> tuple[npt.NDArray[np.float64], float]:
    """The matrix that turns and scales the image so that the eyes lie level at a distance of 1, and its scale."""
    right, left = face.keypoints[:2].astype(np.float64)
    across = left - right
    squared = max(float(across @ across), 1e-6)
    return np.array([[across[0], across[1]], [-across[1], across[0]]]) / squared, squared**-0.5


def known_half(persons: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """The first half of each person's images, the larger one where their number is odd: (N,)."""
    known = np.zeros(len(persons), np.bool_)
    for person in np.unique(persons):
        mine = np.flatnonzero(persons == person)
        known[mine[: (len(mine) + 1) // 2]] = True
    return known


def attacks(values: int, images: int) -> dict[str, Pipeline]:
    """The attackers, by name; ``values`` and ``images`` of what they learn from."""
    reduced = [PCA(COMPONENTS, random_state=0)] if min(values, images) > COMPONENTS else []
    return {
        "nearest_neighbour": make_pipeline(StandardScaler(), KNeighborsClassifier(1)),
        "linear_probe": make_pipeline(StandardScaler(), *reduced, LogisticRegression(max_iter=1000)),
    }


def measure_identity(bundle: Path, manifest: Path, most: int = 10) -> IdentityResult:
    """Measure on all splits of a manifest.

    :param most: take at most so many images of one person.
    :raises FerError: bundle or images cannot be used, or too few faces are found.
    """
    if most < 2:
        raise FerError(f"--most: {most} image(s) cannot be divided into known and asked, give at least 2")
    labels, portraits = find_portraits(manifest, most)
    observed = observe(bundle, labels, portraits)
    known = observed.is_known
    persons, asked = observed.persons[known], observed.persons[~known]
    names, counts = np.unique(persons, return_counts=True)
    frequent = names[counts.argmax()]
    return IdentityResult(
        model=str(bundle),
        persons=len(names),
        known_images=len(persons),
        asked_images=len(asked),
        chance=Chance(most_frequent=(asked == frequent).mean(), uniform=1 / len(names)),
        emotion_accuracy=Mean.of(observed.emotion_hits),
        identified={name: attack(name, values, observed) for name, values in observed.features.items()},
    )


def attack(name: str, values: Float32Array, observed: Observed) -> Identified:
    """How many persons are named rightly by features (N, values); intervals are over resampled persons, whose images
    resemble each other.
    """
    known = observed.is_known
    persons, asked = observed.persons[known], observed.persons[~known]
    found = {}
    for attacker, pipeline in attacks(values.shape[1], len(persons)).items():
        with warnings.catch_warnings():  # that there are many persons for so few images
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            named = pipeline.fit(values[known], persons).predict(values[~known])
        found[attacker] = fraction_of(named == asked, asked)
    return Identified(mode=MODES[name], values=values.shape[1], **found)


def fraction_of(hits: npt.NDArray[np.bool_], persons: npt.NDArray[np.str_]) -> Fraction:
    """The fraction of hits (N,), with its interval over resamples of the persons (N,)."""
    _, numbers = np.unique(persons, return_inverse=True)
    right, asked = np.bincount(numbers, hits), np.bincount(numbers)
    draws = np.random.default_rng(0).multinomial(len(asked), np.full(len(asked), 1 / len(asked)), RESAMPLES)
    return Fraction(fraction=hits.mean(), interval=interval((draws @ right) / (draws @ asked)))


def format_identity(result: IdentityResult) -> str:
    """The result as text for a terminal."""
    emotion = result.emotion_accuracy
    accuracy = "not measured, no labels"
    if emotion.mean is not None:
        accuracy = f"{percent(emotion.mean, emotion.interval, 1)} of {emotion.n} images"
    rows: list[tuple[str, ...]] = [("", "mode", "values", "nearest neighbour", "linear probe")]
    for name, entry in result.identified.items():
        cells = (percent(found.fraction, found.interval, 1) for found in (entry.nearest_neighbour, entry.linear_probe))
        rows.append((name, entry.mode, str(entry.values), *cells))
    return "\n".join(
        [
            f"{result.model}: {result.persons} persons, {result.known_images} known and {result.asked_images} asked "
            f"images; emotions right: {accuracy}",
            f"persons named rightly; chance: {percent(result.chance.most_frequent)} by the most frequent, "
            f"{percent(result.chance.uniform)} uniform",
            *aligned(rows),
        ]
    )


def plot_identity(result: IdentityResult, folder: Path) -> Path:
    """Bars of the persons named rightly, with intervals and chance, into a PNG; returns it."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axes = figure.subplots()
    entries = result.identified
    for offset, attacker in ((-0.2, "nearest_neighbour"), (0.2, "linear_probe")):
        found = [getattr(entry, attacker) for entry in entries.values()]
        heights, ends = (100 * np.array([getattr(f, key) for f in found]) for key in ("fraction", "interval"))
        places = np.arange(len(found)) + offset
        errors = np.abs(ends - heights[:, None]).T
        bars = axes.bar(places, heights, 0.38, yerr=errors, capsize=4, label=attacker.replace("_", " "))
        axes.bar_label(bars, fmt="%.1f", padding=4)
    chance = 100 * max(result.chance.most_frequent, result.chance.uniform)
    axes.axhline(chance, color="black", linestyle="--", linewidth=1, label=f"chance, {chance:.2f}%")
    titles = [f"{name}\n{'mode ' + e.mode if e.mode else 'in no mode'}" for name, e in entries.items()]
    axes.set_xticks(range(len(entries)), titles)
    emotion = result.emotion_accuracy.mean
    right = "" if emotion is None else f"; emotions right: {emotion * 100:.1f}%"
    axes.set(
        ylabel="persons named rightly (%)",
        title=f"{result.persons} persons, {result.asked_images} images{right}",
    )
    axes.margins(y=0.12)
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "identity.png"
    figure.savefig(file, dpi=120)
    return file
