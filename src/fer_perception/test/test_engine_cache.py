from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fer_perception.engines.cache import EngineCache, Entry

FACTS = {
    "onnx_sha256": "ab" * 32,
    "tensorrt": "TensorRT 10.3.0",
    "gpu": "Orin with 8 multiprocessors",
    "compute_capability": "8.7",
    "precision": "fp16",
    "inputs": [[1, 1, 48, 48], [1, 1, 48, 48], [16, 1, 48, 48]],
    "dla_core": -1,
}
ENTRY = Entry(b"an engine" * 1000, {"tensors": [["crops", True, [-1, 1, 48, 48], "FLOAT"]]})


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def store(cache: EngineCache) -> tuple[Path, Path]:
    engine = cache.store("model", FACTS, ENTRY)
    assert engine is not None
    return engine, engine.with_suffix(".json")


def test_what_was_stored_is_found_again(cache: EngineCache) -> None:
    assert cache.load("model", FACTS) is None
    engine, description = store(cache)
    assert cache.load("model", FACTS) == ENTRY
    assert sorted(cache.folder.iterdir()) == [engine, description]
    cache.discard("model", FACTS)
    assert cache.load("model", FACTS) is None
    assert list(cache.folder.iterdir()) == []


def test_it_lies_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert EngineCache().folder == tmp_path / "fer_perception" / "engines"
    for value in ("", "relative"):  # by the rules, as if it were not set
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        monkeypatch.setenv("HOME", "/home/robot")
        assert EngineCache().folder == Path("/home/robot/.cache/fer_perception/engines")


@pytest.mark.parametrize(
    "other",
    [
        {"onnx_sha256": "cd" * 32},
        {"tensorrt": "TensorRT 10.3.1"},
        {"tensorrt": "TensorRT-RTX 10.3.0"},
        {"gpu": "Orin with 16 multiprocessors"},
        {"compute_capability": "8.6"},
        {"precision": "int8"},
        {"inputs": [[1, 1, 48, 48], [1, 1, 48, 48], [8, 1, 48, 48]]},
        {"dla_core": 0},
    ],
)
def test_an_engine_of_anything_else_is_not_used(
    cache: EngineCache, other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    engine, description = store(cache)
    wanted = {**FACTS, **other}
    assert cache.load("model", wanted) is None
    # Even under the right name, such as after copying a folder from another machine by hand.
    place = cache.path("model", wanted)
    shutil.copy(engine, place)
    shutil.copy(description, place.with_suffix(".json"))
    assert cache.load("model", wanted) is None
    assert "not used, it is damaged or of something else (facts)" in caplog.text


def test_what_is_written_half_leaves_what_was_there(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    store(cache)

    def interrupt(source: str, target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", interrupt)
    assert cache.store("model", FACTS, Entry(b"another", {})) is None
    assert cache.load("model", FACTS) == ENTRY


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def replace_by(content: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(content) and None


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def of_another_schema(file: Path) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 2}))


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, replace_by(b""), replace_by_folder, Path.unlink])
def test_a_damaged_engine_is_not_used_and_can_be_replaced(cache: EngineCache, damage: Callable[[Path], Any]) -> None:
    engine, _ = store(cache)
    damage(engine)
    assert cache.load("model", FACTS) is None
    if engine.is_dir():
        assert cache.store("model", FACTS, ENTRY) is None  # a warning
        engine.rmdir()
    store(cache)
    assert cache.load("model", FACTS) == ENTRY


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        replace_by(b""),
        replace_by(b"\xff\xfe\x00"),
        replace_by(b"[1, 2]"),
        replace_by(b"{}"),
        replace_by(b"[" * 100_000),
        of_another_schema,
        Path.unlink,
    ],
)
def test_an_engine_without_its_description_is_not_used(cache: EngineCache, damage: Callable[[Path], Any]) -> None:
    damage(store(cache)[1])
    assert cache.load("model", FACTS) is None
    store(cache)
    assert cache.load("model", FACTS) == ENTRY


def test_an_unreadable_file_is_not_fatal(cache: EngineCache, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    engine, _ = store(cache)

    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert cache.load("model", FACTS) is None
    assert f"{engine}: not used" in caplog.text


@contextlib.contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A small file system of its own; needs to be root."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode:
        pytest.skip("this user cannot mount file systems")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def assert_it_goes_on_without(folder: Path) -> None:
    cache = EngineCache(folder)
    with cache.lock("model", FACTS):
        assert cache.store("model", FACTS, ENTRY) is None
    assert cache.load("model", FACTS) is None
    left = list(folder.iterdir()) if folder.is_dir() else []
    assert [file for file in left if file.suffix != ".lock"] == []


def test_a_full_disk_is_a_warning_with_a_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tmpfs(tmp_path / "small", "size=8k") as folder:
        assert_it_goes_on_without(folder / "engines")
    assert "cannot be written (No space left on device)" in caplog.text
    assert "Free some disk" in caplog.text


def test_a_disk_that_gets_full_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert_it_goes_on_without(tmp_path)
    assert "cannot be written (No space left on device)" in caplog.text


def test_a_read_only_folder_is_a_warning_with_a_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.ExitStack() as stack:
        if os.getuid():
            folder = tmp_path / "closed"
            folder.mkdir(mode=0o500)
        else:  # whom permissions do not stop
            folder = stack.enter_context(tmpfs(tmp_path / "closed", "ro"))
        assert_it_goes_on_without(folder / "engines")
    assert re.search(r"cannot be written \((Read-only file system|Permission denied)\)", caplog.text)
    assert "make the folder writable, or set XDG_CACHE_HOME" in caplog.text


PROCESS = """
import sys, time
from pathlib import Path
from fer_perception.engines.cache import EngineCache, Entry
cache, facts, number = EngineCache(Path(sys.argv[1])), {"gpu": "any"}, int(sys.argv[2])
"""
WRITER = """
end = time.monotonic() + 1
while time.monotonic() < end:
    cache.store("model", facts, Entry(bytes([number]) * 200_000, {"number": number}))
    found = cache.load("model", facts)
    assert found is None or found.data == bytes([found.details["number"]]) * 200_000
"""
BUILDER = """
with cache.lock("model", facts):
    if cache.load("model", facts) is None:
        time.sleep(0.5)
        cache.store("model", facts, Entry(b"engine", {}))
        print("built")
assert cache.load("model", facts).data == b"engine"
"""


def run_two(program: str, folder: Path) -> list[str]:
    """Two processes at once; what they printed."""
    command = [sys.executable, "-c", PROCESS + program, str(folder)]
    processes = [subprocess.Popen([*command, number], stdout=subprocess.PIPE, text=True) for number in ("1", "2")]
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return outputs


def test_two_processes_that_write_at_once_never_mix(tmp_path: Path) -> None:
    run_two(WRITER, tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".engine", ".json"}


def test_of_two_processes_one_builds_and_both_have_it(tmp_path: Path) -> None:
    assert sorted(run_two(BUILDER, tmp_path)) == ["", "built\n"]
