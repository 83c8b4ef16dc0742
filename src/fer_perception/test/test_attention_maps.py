"""Attention maps of a bundle, and how they are drawn."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fer_perception.emotions.attention_maps import AttentionMap, AttentionMaps
from fer_perception.errors import BundleError
from fer_perception.faces.finder import open_finder
from fer_perception.files import sha256_of
from fer_perception.models.bundle import Bundle, ModelFile, write_manifest
from fer_perception.models.shipped import resolve_model
from fer_perception.preprocessing.alignment import align
from fer_perception.visualization.drawing import draw_attention

HALF_RED = cv2.applyColorMap(np.full((1, 1), 255, np.uint8), cv2.COLORMAP_TURBO)[0, 0, ::-1] / 2
HALF_BLUE = cv2.applyColorMap(np.zeros((1, 1), np.uint8), cv2.COLORMAP_TURBO)[0, 0, ::-1] / 2


@pytest.fixture
def attentive_bundle(tiny_bundle: Path) -> Path:
    """The tiny bundle with a map of 12 x 12: the sigmoid of the normalised crop's means over 4 x 4 pixels."""
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["crops"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Sigmoid", ["means"], ["map"]),
            helper.make_node("ReduceMax", ["map"], ["attention"], axes=[1], keepdims=0),
        ],
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 1, 48, 48])],
        [helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["batch", 12, 12])],
    )
    file = tiny_bundle / "attention.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), file)
    entry = ModelFile(name=file.name, sha256=sha256_of(file))
    write_manifest(tiny_bundle, Bundle(tiny_bundle).manifest.model_copy(update={"attention": entry}))
    return tiny_bundle


def test_maps_are_those_of_the_file(attentive_bundle: Path) -> None:
    maps = AttentionMaps(attentive_bundle)
    crop = np.zeros((48, 48), np.uint8)
    crop[:24, 24:] = 255
    found = maps.infer([crop, np.dstack([crop] * 3)])
    assert found.dtype == np.float32
    low, high = 1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))  # pixels 0 and 255 are -2 and 2
    expected = np.full((12, 12), low)
    expected[:6, 6:] = high
    np.testing.assert_allclose(found, [expected, expected], atol=1e-5)
    assert maps.infer([]).shape == (0, 12, 12)
    assert maps.map_id == f"tiny-attention-{sha256_of(attentive_bundle / 'attention.onnx')[:8]}"


def test_a_bundle_without_maps_names_the_remedy(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"tiny: has no attention maps.*fer_training export --bundle .*tiny"):
        AttentionMaps(tiny_bundle)


def test_another_file_than_the_manifests_is_refused(attentive_bundle: Path) -> None:
    with open(attentive_bundle / "attention.onnx", "ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match=r"attention\.onnx: SHA-256 is .* corrupt or was replaced"):
        AttentionMaps(attentive_bundle)


def test_a_file_that_gives_no_maps_is_refused(tiny_bundle: Path) -> None:
    manifest = Bundle(tiny_bundle).manifest
    write_manifest(tiny_bundle, manifest.model_copy(update={"attention": manifest.files["fp32"]}))
    with pytest.raises(BundleError, match=r"fp32\.onnx: gives no maps"):
        AttentionMaps(tiny_bundle)


def test_a_map_lies_over_its_face(face_model: Path, portrait: np.ndarray, attentive_bundle: Path) -> None:
    """The tiny bundle's map is a small image of the crop: brought to the image it fits the image's pixels."""
    maps = AttentionMaps(attentive_bundle)
    manifest = maps.bundle.manifest
    turned = cv2.warpAffine(portrait, cv2.getRotationMatrix2D((220, 130), 20, 1.2), (512, 512))
    with closing(open_finder()) as finder:
        (face,) = finder.find(turned)
    grey = cv2.cvtColor(turned, cv2.COLOR_RGB2GRAY)
    crop = align(grey, face.eyes_and_mouth, manifest.alignment, 48, 48)
    ((values, to_image),) = maps.of_faces([face], [crop])
    assert (values.dtype, values.shape) == (np.uint8, (12, 12))
    places = manifest.alignment.points(12, 12)
    np.testing.assert_allclose(places @ to_image[:, :2].T + to_image[:, 2], face.eyes_and_mouth, atol=8)
    columns, rows = np.meshgrid(np.arange(12), np.arange(12))
    positions = np.column_stack([columns.ravel(), rows.ravel()]) @ to_image[:, :2].T + to_image[:, 2]
    x, y = positions.round().astype(int).T
    brightness = cv2.blur(grey, (9, 9))[y, x]
    assert np.corrcoef(brightness, values.ravel())[0, 1] > 0.95


def test_a_shipped_model_looks_at_the_face(face_model: Path, portrait: np.ndarray) -> None:
    maps = AttentionMaps(resolve_model("hybrid_attention_lite0"))
    manifest = maps.bundle.manifest
    with closing(open_finder()) as finder:
        (face,) = finder.find(portrait)
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    ((values, _),) = maps.of_faces([face], [align(grey, face.eyes_and_mouth, manifest.alignment, 48, 48)])
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    assert values[2:10, 2:10].mean() > 2 * border.mean()


def test_a_map_is_drawn_over_its_crop_and_nowhere_else(portrait: np.ndarray) -> None:
    values = np.zeros((12, 12), np.uint8)
    values[:, 6:] = 255
    turn, scale, corner = np.deg2rad(30), 10.0, np.array([200.0, 100.0])
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    drawn = draw_attention(portrait, [AttentionMap(values, np.column_stack([linear, corner]))])

    outline = np.array([[-0.5, -0.5], [11.5, -0.5], [11.5, 11.5], [-0.5, 11.5]]) @ linear.T + corner
    inside = cv2.fillConvexPoly(np.zeros(portrait.shape[:2], np.uint8), outline.round().astype(np.int32), 1)
    core, around = cv2.erode(inside, np.ones((5, 5))), cv2.dilate(inside, np.ones((5, 5)))
    changed = (drawn != portrait).any(axis=2)
    assert changed[core > 0].mean() > 0.99
    assert not changed[around == 0].any()
    for place, colour in (((1, 6), HALF_BLUE), ((10, 6), HALF_RED)):
        x, y = (linear @ place + corner).round().astype(int)
        np.testing.assert_allclose(drawn[y, x], portrait[y, x] / 2 + colour, atol=3)


def test_maps_beyond_the_image_and_of_no_face_are_harmless(portrait: np.ndarray) -> None:
    values = np.full((12, 12), 255, np.uint8)
    for matrix in (np.full((2, 3), np.nan), np.zeros((2, 3)), np.array([[1.0, 0, 9000], [0, 1, 9000]])):
        np.testing.assert_array_equal(draw_attention(portrait, [AttentionMap(values, matrix)]), portrait)
    large = draw_attention(portrait, [AttentionMap(values, np.array([[100.0, 0, -300], [0, 100, -300]]))])
    np.testing.assert_allclose(large[0, 0], portrait[0, 0] / 2 + HALF_RED, atol=3)
