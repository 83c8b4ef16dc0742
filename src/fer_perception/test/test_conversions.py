"""Conversion between messages and the core, with the real message types."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from fer_perception.emotions.attention_maps import AttentionMap
from fer_perception.errors import ImageError
from fer_perception.faces import face as core
from fer_perception.images.messages import image_from_message
from fer_perception.images.visibility import SensorRange
from fer_perception.labels import EMOTIONS_7
from fer_perception.nodes.base.conversions import (
    age_ms,
    attention_array_message,
    attention_from_message,
    emotion_array_message,
    face_array_message,
    face_from_message,
    image_message,
    latency_message,
    probabilities_from_message,
    region,
)
from fer_perception.pipeline import Emotions, Faces

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def message(encoding: str, pixels: np.ndarray, padding: int = 0, big_endian: bool = False) -> Image:
    height, width = pixels.shape[:2]
    rows = np.frombuffer(pixels.tobytes(), np.uint8).reshape(height, -1)
    rows = np.hstack([rows, np.full((height, padding), 77, np.uint8)])
    data = array("B", rows.tobytes())
    return Image(
        height=height, width=width, encoding=encoding, step=rows.shape[1], data=data, is_bigendian=int(big_endian)
    )


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels", "expected"),
    [
        ("rgb8", PICTURE, PICTURE),
        ("bgr8", PICTURE[..., ::-1], PICTURE),
        ("rgba8", np.dstack([PICTURE, PICTURE[..., 0]]), PICTURE),
        ("bgra8", np.dstack([PICTURE[..., ::-1], PICTURE[..., 0]]), PICTURE),
        ("mono8", PICTURE[..., 0], np.dstack([PICTURE[..., 0]] * 3)),
    ],
)
def test_encodings_become_rgb(encoding: str, pixels: np.ndarray, expected: np.ndarray, padding: int) -> None:
    np.testing.assert_array_equal(image_from_message(message(encoding, pixels, padding)), expected)


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("bayer_rggb", "rggb"), ("bayer_bggr", "bggr"), ("bayer_gbrg", "gbrg"), ("bayer_grbg", "grbg")],
)
@pytest.mark.parametrize("bits", [8, 10, 16])
def test_colour_filters(encoding: str, order: str, bits: int) -> None:
    values = {"r": 200, "g": 100, "b": 20}
    mosaic = np.tile(np.asarray([values[color] for color in order], np.uint8).reshape(2, 2), (4, 4))
    if bits > 8:
        mosaic = mosaic.astype(np.uint16) << (bits - 8)
        mosaic[0, 0] = 2**bits - 1  # the brightest value of this sensor
    rgb = image_from_message(
        message(f"{encoding}{16 if bits > 8 else 8}", mosaic), SensorRange(bits if bits > 8 else 0)
    )
    np.testing.assert_array_equal(rgb[4, 4], [200, 100, 20])


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(("encoding", "pair"), [("nv12", (240, 110)), ("nv21", (110, 240)), ("NV12", (240, 110))])
def test_planar_yuv_keeps_its_colours(encoding: str, pair: tuple[int, int], padding: int) -> None:
    """Blue by BT.601 in video range: Y 41, U 240, V 110."""
    rows = np.vstack([np.full((4, 6), 41, np.uint8), np.tile(np.asarray(pair, np.uint8), (2, 3))])
    image = message(encoding, np.hstack([rows, np.full((6, padding), 77, np.uint8)]))
    image.height, image.width = 4, 6
    np.testing.assert_allclose(image_from_message(image), np.tile([0, 0, 255], (4, 6, 1)), atol=4)


def test_planar_yuv_with_a_step_of_three_halves() -> None:
    image = message("nv12", np.full((6, 6), 128, np.uint8))
    image.height, image.width, image.step = 4, 6, 9  # step x height is the number of bytes
    np.testing.assert_allclose(image_from_message(image), 130, atol=3)


def test_one_channel_without_a_name_is_grey() -> None:
    grey = PICTURE[..., 0]
    np.testing.assert_array_equal(image_from_message(message("8UC1", grey)), np.dstack([grey] * 3))
    wide = image_from_message(message("16UC1", grey.astype(np.uint16) << 8))
    np.testing.assert_array_equal(wide, np.dstack([grey] * 3))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("h264", "it is a film"),
        ("H265", "it is a film"),
        ("16UC1; compressedDepth png", "it holds distances"),
        ("avif", "its format says 'avif'. Publish JPEG, PNG or WebP, or sensor_msgs/Image"),
    ],
)
def test_other_formats_of_compressed_images_are_refused_by_name(name: str, remedy: str) -> None:
    with pytest.raises(ImageError, match=remedy) as refused:
        image_from_message(CompressedImage(format=name, data=bytes(100)))
    assert name in str(refused.value)


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize(
    ("pattern", "places"), [("rggb", (0, 0)), ("bggr", (1, 1)), ("gbrg", (1, 0)), ("grbg", (0, 1))]
)
def test_a_compressed_colour_filter_keeps_its_colours(pattern: str, places: tuple[int, int], ending: str) -> None:
    """Of a red image all values but those behind red filters are dark."""
    mosaic = np.zeros((16, 16), np.uint8)
    mosaic[places[0] :: 2, places[1] :: 2] = 200
    data = cv2.imencode(ending, mosaic)[1].tobytes()
    image = image_from_message(CompressedImage(format=f"bayer_{pattern}8; {ending[1:]} compressed ", data=data))
    red, green, blue = image[4:12, 4:12].reshape(-1, 3).mean(0)
    assert red > 150
    assert max(green, blue) < 40
    grey = image_from_message(CompressedImage(format="mono8; png compressed ", data=data))
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


@pytest.mark.parametrize("big_endian", [False, True])
def test_sixteen_bit_grey(big_endian: bool) -> None:
    pixels = np.array([[0, 257 * 100, 65535]], np.uint16).astype(">u2" if big_endian else "<u2")
    rgb = image_from_message(message("mono16", pixels, big_endian=big_endian))
    np.testing.assert_array_equal(rgb[0, :, 0], [0, 100, 255])


def test_yuv_of_a_grey_image() -> None:
    uyvy = np.full((4, 6, 2), 128, np.uint8)
    np.testing.assert_allclose(image_from_message(message("yuv422", uyvy)), 130, atol=3)


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv_keeps_its_colours(encoding: str, order: str) -> None:
    # Blue by BT.601 in video range: Y 41, U 240, V 110.
    values = {"y": 41, "u": 240, "v": 110}
    pairs = np.tile(np.array([values[c] for c in order], np.uint8).reshape(2, 2), (4, 3, 1))
    rgb = image_from_message(message(encoding, pairs))
    assert rgb.shape == (4, 6, 3)
    np.testing.assert_allclose(rgb.reshape(-1, 3), np.tile([0, 0, 255], (24, 1)), atol=4)


def broken(**changes: object) -> Image:
    image = message("rgb8", PICTURE)
    for name, value in changes.items():
        setattr(image, name, value)
    return image


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (broken(step=8), "step 8 is less than the 24 bytes"),
        (broken(step=25), "144 bytes of data where step x height is 150"),
        (broken(data=array("B")), "0 bytes of data"),
        (broken(data=array("B", bytes(100))), "100 bytes of data"),
        (broken(encoding="rainbow"), "encoding 'rainbow' is not known"),
        (broken(encoding=""), "encoding '' is not known"),
        (broken(encoding="8UC3"), "encoding '8UC3' is not known"),
        (broken(encoding="32FC3", step=96, data=array("B", bytes(576))), "encoding '32FC3' is not known"),
        (broken(encoding="8UC" + "9" * 5000), "encoding '8UC9+' is not known"),
        (broken(encoding="nv12", step=8, data=array("B", bytes(48))), "48 bytes .* nv12 has step x height x 3/2.* 72"),
        (broken(encoding="nv12", step=7, data=array("B", bytes(63))), "63 bytes .* nv12"),
        (broken(encoding="nv21", height=5, step=8, data=array("B", bytes(56))), "both sides must be even"),
        (broken(encoding="nv24"), "encoding 'nv24' is not known: publish rgb8, bgr8 or mono8"),
        (broken(encoding="32FC1"), "encoding '32FC1' is not known: publish"),
        (broken(width=0), "both sides must lie between"),
        (broken(height=0), "both sides must lie between"),
        (broken(width=4_000_000_000), "both sides must lie between"),
        (Image(), "both sides must lie between"),
    ],
)
def test_malformed_images_are_refused_with_a_reason(image: Image, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        image_from_message(image)


def test_image_message_comes_back() -> None:
    header = Header(frame_id="camera")
    header.stamp.sec = 5
    sent = image_message(header, PICTURE)
    assert sent.header == header
    np.testing.assert_array_equal(image_from_message(sent), PICTURE)


def test_faces_and_emotions_come_back() -> None:
    points = RNG.normal(size=(5, 2)).astype(np.float32)
    mesh = RNG.normal(size=(478, 3)).astype(np.float32)
    faces = [core.Face((1, 2, 3, 4), 0.5, points, mesh, (0.0, 0.6, 0.0, 0.8)), core.Face((5, 6, 7, 8), 0.25, points)]
    probabilities = np.full((2, 7), 0.1, np.float32)
    probabilities[0, 3] = probabilities[1, 6] = 0.4
    smoothed = np.full((2, 7), 0.05, np.float32)
    smoothed[:, 5] = 0.7
    track_ids = ["abcde", "fghij"]
    sent = face_array_message(Header(), PICTURE, Faces(faces, track_ids, []))
    assert [face.track_id for face in sent.faces] == ["abcde", "fghij"]
    assert (sent.image_width, sent.image_height) == (8, 6)
    for face, back in zip(faces, map(face_from_message, sent.faces), strict=True):
        assert back.box == face.box
        assert back.orientation == face.orientation
        np.testing.assert_array_equal(back.keypoints, face.keypoints)
        assert (back.mesh is None) == (face.mesh is None)
    np.testing.assert_array_equal(face_from_message(sent.faces[0]).mesh, mesh)

    lean = face_array_message(Header(), PICTURE, Faces(faces, track_ids, []), mesh=False)
    assert len(lean.faces[0].mesh) == len(lean.faces[0].head_orientation) == 0

    regions = [face.roi for face in sent.faces]
    emotions = emotion_array_message(
        Header(), EMOTIONS_7, "model-id", track_ids, regions, Emotions(probabilities, smoothed)
    )
    assert [emotion.roi for emotion in emotions.emotions] == regions
    assert [emotion.smoothed_label for emotion in emotions.emotions] == ["surprise", "surprise"]
    assert emotions.emotions[1].smoothed_confidence == pytest.approx(0.7)
    assert [emotion.label for emotion in emotions.emotions] == ["happy", "neutral"]
    assert [emotion.track_id for emotion in emotions.emotions] == ["abcde", "fghij"]
    assert list(emotions.labels) == list(EMOTIONS_7)
    assert emotions.model_id == "model-id"
    np.testing.assert_array_equal([emotion.probabilities for emotion in emotions.emotions], probabilities)
    np.testing.assert_array_equal(probabilities_from_message(emotions), smoothed)


def test_an_image_without_faces_gives_empty_arrays() -> None:
    emotions = emotion_array_message(Header(), EMOTIONS_7, "m", [], [], Emotions(*[np.empty((0, 7), np.float32)] * 2))
    assert emotions.emotions == []
    assert probabilities_from_message(emotions).shape == (0, 7)


def test_latency_has_a_field_for_every_stage() -> None:
    durations = {
        name: float(number)
        for number, name in enumerate(
            [
                "age_at_receipt",
                "age_at_publication",
                "receive",
                "decode",
                "detect",
                "align",
                "infer",
                "publish",
                "total",
            ]
        )
    }
    sent = latency_message(Header(), durations, 3, 4, 5)
    assert sent.total_ms == 8
    assert sent.decode_ms == 3
    assert (sent.faces, sent.dropped_frames, sent.rejected_frames) == (3, 4, 5)


def test_no_age_without_a_stamp_or_without_a_clock() -> None:
    """With use_sim_time ROS time is zero until the first /clock."""
    stamp = Time(sec=1_000_000_000, nanosec=5_000_000)
    assert age_ms(1_000_000_000_025_000_000, stamp) == pytest.approx(20.0)
    assert np.isnan(age_ms(0, stamp))
    assert np.isnan(age_ms(1_000_000_000_025_000_000, Time()))


def test_attention_maps_come_back_as_they_were() -> None:
    maps = [AttentionMap(RNG.integers(0, 256, (3, 5), np.uint8), RNG.normal(size=(2, 3))) for _ in range(2)]
    sent = attention_array_message(
        Header(frame_id="eye"), "tiny-attention-0", ["a", "b"], [region((1, 2, 3, 4))] * 2, maps
    )
    assert (sent.header.frame_id, sent.model_id) == ("eye", "tiny-attention-0")
    assert [(entry.track_id, entry.roi.width) for entry in sent.attention] == [("a", 3), ("b", 3)]
    for expected, found in zip(maps, attention_from_message(sent), strict=True):
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.to_image, expected.to_image)


@pytest.mark.parametrize(("width", "height"), [(5, 4), (0, 3), (2**32 - 1, 2**32 - 1)])
def test_an_attention_map_of_another_size_than_it_says_is_refused(width: int, height: int) -> None:
    values = np.zeros((3, 5), np.uint8)
    sent = attention_array_message(
        Header(), "x", ["abcde"], [region((0, 0, 1, 1))], [AttentionMap(values, np.eye(2, 3))]
    )
    sent.attention[0].width, sent.attention[0].height = width, height
    with pytest.raises(ImageError, match="the attention map of face abcde has 15 values and says"):
        attention_from_message(sent)
    sent.attention[0].values, sent.attention[0].width = [], 0
    with pytest.raises(ImageError, match="has 0 values"):
        attention_from_message(sent)
