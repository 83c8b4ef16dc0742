from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
import pytest
import yaml

from fer_perception.emotions.classifier import EmotionClassifier, softmax
from fer_perception.errors import BundleError
from fer_perception.files import sha256_of
from fer_perception.models.bundle import Bundle


def change_manifest(bundle: Path, **values: object) -> None:
    file = bundle / "manifest.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **values}))


def test_probabilities_are_those_of_the_network(tiny_bundle: Path) -> None:
    classifier = EmotionClassifier(tiny_bundle)
    probabilities = classifier.classify([np.full((48, 48), 255, np.uint8), np.zeros((60, 60, 3), np.uint8)])
    expected = softmax(np.outer([2.0, -2.0], np.linspace(-1, 1, 7)).astype(np.float32))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert classifier.model_id == f"tiny-fp32-{sha256_of(tiny_bundle / 'fp32.onnx')[:8]}"


def test_logits_are_divided_by_the_temperature(tiny_bundle: Path) -> None:
    crops = [np.full((48, 48), 255, np.uint8), np.full((48, 48), 100, np.uint8)]
    plain = EmotionClassifier(tiny_bundle)
    change_manifest(tiny_bundle, temperature=2.0)
    soft = EmotionClassifier(tiny_bundle)
    expected = softmax(np.linspace(-1, 1, 7, dtype=np.float32))  # logits -2 to 2, halved
    np.testing.assert_allclose(soft.classify(crops)[0], expected, atol=1e-5)
    np.testing.assert_array_equal(soft.logits(crops), plain.logits(crops))
    assert soft.classify(crops).argmax(axis=1).tolist() == plain.classify(crops).argmax(axis=1).tolist()
    assert soft.model_id == plain.model_id


def test_a_manifest_without_temperature_has_one_of_1(tiny_bundle: Path) -> None:
    file = tiny_bundle / "manifest.yaml"
    content = yaml.safe_load(file.read_text())
    del content["temperature"]
    file.write_text(yaml.safe_dump(content))
    assert Bundle(tiny_bundle).manifest.temperature == 1.0


def test_no_crop_needs_no_engine_call(tiny_bundle: Path) -> None:
    assert EmotionClassifier(tiny_bundle).classify([]).shape == (0, 7)


def test_missing_bundle_names_path_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere.*manifest\.yaml: cannot be read.*give the path"):
        Bundle(tmp_path / "nowhere")


def test_broken_yaml_is_named(tiny_bundle: Path) -> None:
    (tiny_bundle / "manifest.yaml").write_text("labels: [")
    with pytest.raises(BundleError, match="not valid YAML"):
        Bundle(tiny_bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema_version is 99"),
        ({"labels": ["happy", "sad"]}, "labels must be one of"),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"input": {"width": 48}}, "input.height: Field required"),
        ({"files": {"fp32": {"name": "../../etc/x.onnx", "sha256": "0" * 64}}}, "files.fp32.name"),
        ({"files": {}}, "files"),
        ({"temperature": 0.0}, "temperature: Input should be greater"),
        ({"temperature": float("nan")}, "temperature"),
    ],
)
def test_invalid_manifest_names_the_field(tiny_bundle: Path, change: dict, message: str) -> None:
    change_manifest(tiny_bundle, **change)
    with pytest.raises(BundleError, match=message):
        Bundle(tiny_bundle)


def test_manifest_that_is_no_mapping_is_refused(tiny_bundle: Path) -> None:
    (tiny_bundle / "manifest.yaml").write_text("just text")
    with pytest.raises(BundleError, match=r"manifest\.yaml"):
        Bundle(tiny_bundle)


def test_changed_file_is_found_by_its_hash(tiny_bundle: Path) -> None:
    with open(tiny_bundle / "fp32.onnx", "ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match=r"fp32\.onnx: SHA-256 is .* corrupt or was replaced"):
        EmotionClassifier(tiny_bundle)


def test_missing_file_and_missing_precision(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="has no precision 'int8', only fp32"):
        EmotionClassifier(tiny_bundle, "int8")
    (tiny_bundle / "fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"fp32\.onnx: cannot be read"):
        EmotionClassifier(tiny_bundle)


BOMB = "a: &a [x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join(['*' + chr(97 + level)] * 9)}]\n" for level in range(12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB + "schema_version: *m\n", r"aliases are not allowed, found \*a"),  # 9^12 times three
        ("[" * 5_000, "not valid YAML"),
        ("- " * 50_000, "not valid YAML"),
        ("training: {date: 2026-99-99}", "not valid YAML .*month must be in"),
        ("parameters: " + "9" * 5000, "not valid YAML|parameters"),
        ("training: !!python/object/apply:os.system [exit]", "not valid YAML .*could not determine a constructor"),
        ("# " + "x" * (1 << 20), "larger than 1048576 bytes"),
        ("schema_version: [" + "x, " * 10_000 + "]", "schema_version is .{0,60}, this version"),
    ],
    ids=["aliases", "depth", "lists", "date", "number", "object", "size", "message"],
)
def test_a_hostile_manifest_is_refused(tiny_bundle: Path, text: str, message: str) -> None:
    (tiny_bundle / "manifest.yaml").write_text(text)
    with pytest.raises(BundleError, match=message):
        Bundle(tiny_bundle)


@pytest.mark.parametrize("name", ["/etc/x.onnx", "../x.onnx", "sub/x.onnx", "..", "x.onnx\n", "x\0.onnx"])
def test_a_manifest_names_files_of_its_own_folder_only(tiny_bundle: Path, name: str) -> None:
    change_manifest(tiny_bundle, files={"fp32": {"name": name, "sha256": "0" * 64}})
    with pytest.raises(BundleError, match=r"files\.fp32\.name"):
        Bundle(tiny_bundle)


def test_a_link_is_followed_to_what_the_hash_says_and_to_nothing_else(tiny_bundle: Path, tmp_path: Path) -> None:
    file, other = tiny_bundle / "fp32.onnx", tmp_path / "elsewhere"
    file.rename(other)
    file.symlink_to(other)  # as colcon build --symlink-install does
    assert Bundle(tiny_bundle).onnx_file() == file
    other.write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"SHA-256 is .* corrupt or was replaced"):
        Bundle(tiny_bundle).onnx_file()
    for endless in ("/dev/zero", str(tmp_path)):
        file.unlink()
        file.symlink_to(endless)
        with pytest.raises(BundleError, match=r"fp32\.onnx: cannot be read \(not a regular file\)"):
            Bundle(tiny_bundle).onnx_file()


def test_a_manifest_that_never_ends(tiny_bundle: Path) -> None:
    (tiny_bundle / "manifest.yaml").unlink()
    (tiny_bundle / "manifest.yaml").symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=r"cannot be read \(not a regular file\)"):
        Bundle(tiny_bundle)


@pytest.mark.parametrize("location", ["weights.bin", "/etc/passwd", "../../weights.bin"])
def test_weights_in_other_files_are_refused_before_anything_is_loaded(tiny_bundle: Path, location: str) -> None:
    file = tiny_bundle / "fp32.onnx"
    model = onnx.load(file)
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "weights")
    onnx.external_data_helper.set_external_data(weights, location)
    weights.ClearField("raw_data")
    file.write_bytes(model.SerializeToString())
    change_manifest(tiny_bundle, files={"fp32": {"name": file.name, "sha256": sha256_of(file)}})
    with pytest.raises(BundleError, match=r"fp32\.onnx: has weights in another file"):
        EmotionClassifier(tiny_bundle)
    # The same message, its numbers written longer than need be, as a protobuf parser takes it, too.
    entry = b"\x0a\x08location\x12" + bytes([len(location)]) + location.encode()
    assert entry in file.read_bytes()
    tensor = onnx.TensorProto.FromString(b"\x6a" + bytes([len(entry) + 2]) + b"\x8a\x00\x88\x00" + entry[2:])
    assert tensor.external_data[0].key == "location"
    file.write_bytes(b"\x8a\x00\x88\x00" + entry[2:])
    change_manifest(tiny_bundle, files={"fp32": {"name": file.name, "sha256": sha256_of(file)}})
    with pytest.raises(BundleError, match="has weights in another file"):
        Bundle(tiny_bundle).onnx_file()


def test_file_that_is_no_network(tiny_bundle: Path) -> None:
    (tiny_bundle / "fp32.onnx").write_bytes(b"no network")
    entry = {"name": "fp32.onnx", "sha256": sha256_of(tiny_bundle / "fp32.onnx")}
    change_manifest(tiny_bundle, files={"fp32": entry})
    with pytest.raises(BundleError, match="ONNX Runtime cannot load it"):
        EmotionClassifier(tiny_bundle)


def test_network_that_does_not_fit_its_manifest(tmp_path: Path, write_tiny_bundle: Callable[..., Path]) -> None:
    with pytest.raises(BundleError, match=r"returns \[\(1, 5\)\] where \[\(-1, 7\)\]"):
        EmotionClassifier(write_tiny_bundle(tmp_path / "five", outputs=5))
    wide = write_tiny_bundle(tmp_path / "wide")
    change_manifest(wide, input={"width": 64, "height": 64, "color": "grey", "mean": [0.5], "std": [0.25]})
    with pytest.raises(BundleError, match="does not take "):
        EmotionClassifier(wide)
