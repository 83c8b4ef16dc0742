"""The audit log: written whole, found out when it is touched, whatever interrupts it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_perception.audit import log as audit
from fer_perception.audit.log import AuditLog, Limits, audit_files, canonical, sha256
from fer_perception.audit.trail import AuditTrail
from fer_perception.audit.verification import verify
from fer_perception.commands.audit import main
from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.emotions.quality_gate import Refusal
from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7
from fer_perception.pipeline import Emotions
from fer_perception.settings.pipeline import TrackSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def write(folder: Path, count: int, limits: Limits | None = None, first: int = 0) -> None:
    with contextlib.closing(AuditLog(folder, limits)) as log:
        for number in range(first, first + count):
            log.put("decision", {"value": number, "text": "x" * 80})
            if number % 500 == 499:
                await_written(log)


def await_written(log: AuditLog) -> None:
    deadline = time.monotonic() + 30
    while not log._waiting.empty() and time.monotonic() < deadline:
        time.sleep(0.01)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in audit_files(folder) for line in file.read_bytes().split(b"\n")[:-1]]


def test_what_was_put_is_there_in_order_and_the_chain_is_intact(folder: Path) -> None:
    write(folder, 20)
    found = records(folder)
    assert [record["kind"] for record in found] == ["open"] + ["decision"] * 20
    assert [record["value"] for record in found[1:]] == list(range(20))
    assert [record["number"] for record in found] == list(range(1, 22))
    assert [record["previous"] for record in found[1:]] == [record["hash"] for record in found[:-1]]
    last = dict(found[-1])
    assert sha256(canonical({key: value for key, value in last.items() if key != "hash"})) == last["hash"]
    result = verify(folder)
    assert (result.problem, result.records, result.head, result.notes) == ("", 21, last["hash"], [])


def test_only_the_owner_can_read_it(folder: Path) -> None:
    write(folder, 1)
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def lines_of(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def rehashed(line: bytes, **changes: Any) -> bytes:
    record = {**json.loads(line), **changes}
    del record["hash"]
    return canonical({**record, "hash": sha256(canonical(record))}).encode() + b"\n"


TAMPERING: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a changed value": (
        lambda lines: [*lines[:4], lines[4].replace(b'"value":3', b'"value":9'), *lines[5:]],
        "line 5: record 5 was changed",
    ),
    "one digit of a hash": (
        lambda lines: [*lines[:4], lines[4].replace(b'"hash":"', b'"hash":"f')[:-1] + b"\n", *lines[5:]],
        "line 5: record 5 was changed",
    ),
    "only spaces": (
        lambda lines: [*lines[:4], lines[4].replace(b'":', b'": ', 1), *lines[5:]],
        "line 5: record 5 was changed",
    ),
    "a changed value with its hash": (
        lambda lines: [*lines[:4], rehashed(lines[4], value=9), *lines[5:]],
        "line 6: record 6 does not follow the one before it",
    ),
    "a removed record": (lambda lines: lines[:4] + lines[5:], "line 5: records 5 to 5 were removed"),
    "several removed records": (lambda lines: lines[:4] + lines[8:], "line 5: records 5 to 8 were removed"),
    "a removed record, renumbered": (
        lambda lines: [*lines[:4], rehashed(lines[5], number=5), *lines[6:]],
        "line 5: record 5 does not follow the one before it",
    ),
    "a repeated record": (
        lambda lines: [*lines[:5], lines[4], *lines[5:]],
        "line 6: record 5 was inserted or moved, here belongs number 6",
    ),
    "a forged record": (
        lambda lines: [*lines[:5], rehashed(lines[4], previous=json.loads(lines[4])["hash"]), *lines[5:]],
        "line 6: record 5 was inserted or moved",
    ),
    "swapped records": (
        lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
        "line 5: records 5 to 5 were removed",
    ),
    "a truncated record": (lambda lines: [*lines[:4], lines[4][:40] + b"\n", *lines[5:]], "line 5: is no record"),
    "a line of something else": (lambda lines: [*lines[:4], b"hello\n", *lines[5:]], "line 5: is no record"),
    "a line of JSON": (lambda lines: [*lines[:4], b"[]\n", *lines[5:]], "line 5: is no record"),
    "a removed beginning": (lambda lines: lines[1:], "records up to number 1 are missing at the beginning"),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_shows_where_it_was_done(folder: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, 12)
    (file,) = audit_files(folder)
    tamper, expected = TAMPERING[what]
    before = lines_of(file)
    after = tamper(before)
    assert after != before
    file.write_bytes(b"".join(after))
    assert expected in verify(folder).problem
    assert main(["verify", str(folder)]) == 1
    assert "BROKEN: " in (output := capsys.readouterr().out)
    assert expected in output


def test_a_cut_off_end_shows_by_an_anchor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, 5)
    assert main(["verify", str(folder)]) == 0
    head = capsys.readouterr().out.split("head ")[1].split()[0]
    write(folder, 5)
    assert verify(folder, (head,)).problem == ""
    audit_files(folder)[1].unlink()
    (file,) = audit_files(folder)
    file.write_bytes(b"".join(lines_of(file)[:-1]))
    assert verify(folder).problem == ""  # as the documentation says: the chain alone cannot know
    assert f"no record has the hash {head}" in verify(folder, (head,)).problem
    assert main(["verify", str(folder), "--anchor", head]) == 1


def test_a_chain_that_was_written_anew_shows_by_an_anchor(folder: Path, tmp_path: Path) -> None:
    write(folder, 5)
    write(tmp_path / "forged", 5)
    assert verify(tmp_path / "forged").problem == ""
    assert verify(tmp_path / "forged", (verify(folder).head,)).problem != ""


def test_a_new_start_continues_the_chain_in_a_new_file(folder: Path) -> None:
    for _ in range(3):
        write(folder, 4)
    assert [file.name for file in audit_files(folder)] == [f"audit-00000{n}.jsonl" for n in (1, 2, 3)]
    assert [record["number"] for record in records(folder)] == list(range(1, 16))
    assert verify(folder).problem == ""
    audit_files(folder)[1].unlink()
    assert verify(folder).problem == "audit-000003.jsonl, line 1: records 6 to 10 were removed"


def test_full_files_are_rotated_and_carry_the_context_on(folder: Path) -> None:
    with contextlib.closing(AuditLog(folder, Limits(file_bytes=4000))) as log:
        log.put("context", {"context": "abc"})
        for number in range(50):
            log.put("decision", {"value": number, "text": "x" * 80})
    files = audit_files(folder)
    assert len(files) > 3
    assert all(file.stat().st_size <= 4000 for file in files)
    for file in files:
        assert [json.loads(line)["kind"] for line in lines_of(file)[:2]] == ["open", "context"]
    assert [record["value"] for record in records(folder) if record["kind"] == "decision"] == list(range(50))
    assert verify(folder).problem == ""


def test_old_files_are_deleted_and_the_chain_says_so(folder: Path) -> None:
    limits = Limits(file_bytes=4000, total_bytes=12_000)
    write(folder, 300, limits)
    files = audit_files(folder)
    assert sum(file.stat().st_size for file in files) <= 12_000
    assert files[0].name != "audit-000001.jsonl"
    result = verify(folder)
    assert result.problem == ""
    assert f"records up to number {result.first - 1} were deleted for their age or size" in result.notes
    files[0].unlink()  # one more than the log itself has deleted
    assert "no record says that they were deleted" in verify(folder).problem


def test_files_are_deleted_for_their_age(folder: Path) -> None:
    write(folder, 3)
    long_ago = time.time() - 40 * 86_400
    os.utime(audit_files(folder)[0], (long_ago, long_ago))
    write(folder, 3, Limits(keep_days=0))
    assert len(audit_files(folder)) == 2
    write(folder, 3)
    assert [file.name for file in audit_files(folder)] == ["audit-000002.jsonl", "audit-000003.jsonl"]
    assert verify(folder).problem == ""


def test_two_logs_never_share_a_folder(folder: Path) -> None:
    with (
        contextlib.closing(AuditLog(folder)),
        pytest.raises(FerError, match=r"another node writes its audit log there\. Give each a folder"),
    ):
        AuditLog(folder)
    write(folder, 1)  # free again
    assert verify(folder).problem == ""


KILLED = """
import sys, time
from pathlib import Path
from fer_perception.audit.log import AuditLog
log = AuditLog(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    log.put("decision", {"text": "x" * 500})
    time.sleep(0.0002)
"""


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in audit_files(folder))


def test_a_killed_process_leaves_a_chain_that_goes_on(folder: Path) -> None:
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        deadline, begun = time.monotonic() + 60, size(folder)
        while size(folder) < begun + 50_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    write(folder, 3)
    result = verify(folder)
    assert result.problem == ""
    assert result.records > 100


def test_a_torn_last_line_is_told_of_and_stays_as_it_is(folder: Path) -> None:
    write(folder, 5)
    (first,) = audit_files(folder)
    whole = first.read_bytes()
    first.write_bytes(whole[:-30])  # as a power cut in the middle of a write leaves it
    assert verify(folder).problem == ""
    assert "whose writing was interrupted" in verify(folder).notes[0]
    write(folder, 2)
    assert first.read_bytes() == whole[:-30]
    result = verify(folder)
    assert (result.problem, result.records) == ("", 8)
    assert "before it the writing of a record was interrupted" in result.notes[0]
    first.write_bytes(whole[:-31])
    assert "the end of the file before it was truncated or changed" in verify(folder).problem


def test_a_start_that_was_killed_at_once_leaves_nothing(folder: Path) -> None:
    write(folder, 2)
    (folder / "audit-000002.jsonl").write_bytes(b'{"half')
    write(folder, 2)
    assert [file.name for file in audit_files(folder)] == ["audit-000001.jsonl", "audit-000002.jsonl"]
    assert verify(folder).problem == ""


@contextlib.contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode:
        pytest.skip("this user cannot mount file systems")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_costs_records_that_are_counted_and_not_the_chain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tmpfs(tmp_path / "small", "size=64k") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 40_000)
        with contextlib.closing(AuditLog(disk / "log")) as log:
            for number in range(200):
                log.put("decision", {"value": number, "text": "x" * 200})
            await_written(log)
            deadline = time.monotonic() + 10
            while not log.dropped and time.monotonic() < deadline:
                time.sleep(0.01)
            assert log.dropped
            ballast.unlink()
            log.put("decision", {"value": 200})
        found = records(disk / "log")
        (dropped,) = [record["records"] for record in found if record["kind"] == "dropped"]
        values = [record["value"] for record in found if record["kind"] == "decision"]
        assert values == [*range(200 - dropped), 200]
        assert verify(disk / "log").problem == ""
        assert verify(disk / "log").dropped == dropped
        assert len(audit_files(disk / "log")) == 2
    assert "cannot be written (No space left on device). Free some disk space" in caplog.text
    assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FerError, match=r"cannot be written .*give another audit.folder"):
        AuditLog(tmp_path / "file" / "log")


def test_a_disk_that_hangs_holds_nobody_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, written = threading.Event(), os.write

    def hanging(descriptor: int, data: bytes) -> int:
        go_on.wait(20)
        return written(descriptor, data)

    log = AuditLog(folder)
    monkeypatch.setattr(audit.os, "write", hanging)
    for number in range(audit.WAITING + 50):
        log.put("decision", {"value": number})
    assert log.dropped >= 49  # one was already taken out
    go_on.set()
    log.close()
    found = records(folder)
    lost = sum(record["records"] for record in found if record["kind"] == "dropped")  # more than one, if it began late
    assert sum(record["kind"] == "decision" for record in found) + lost == audit.WAITING + 50
    assert verify(folder).problem == ""


def test_a_disk_that_breaks_in_the_middle_of_a_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, written, calls = AuditLog(folder), os.write, []

    def breaking(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 3:
            written(descriptor, data[:50])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return written(descriptor, data)

    monkeypatch.setattr(audit.os, "write", breaking)
    for number in range(5):
        log.put("decision", {"value": number})
    log.close()
    result = verify(folder)
    assert (result.problem, result.dropped) == ("", 1)
    assert [r["value"] for r in records(folder) if r["kind"] == "decision"] == [0, 1, 3, 4]


def test_no_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FerError, match=r"holds no audit log\. Give the folder"):
        main(["verify", str(tmp_path)])


def test_the_logs_of_several_nodes_are_checked_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("fer.front.fer_node", "fer.rear.fer_node"):
        write(tmp_path / name, 3)
    assert main(["verify", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("intact") == 2


@pytest.mark.parametrize("with_tracks", [True, False])
def test_decisions_say_what_was_told_and_why_not(folder: Path, tiny_bundle: Path, with_tracks: bool) -> None:
    with contextlib.closing(EmotionClassifier(tiny_bundle)) as classifier:
        row = classifier.classify([np.zeros((48, 48), np.uint8)])[0]
        unknown = np.full(7, np.nan, np.float32)
        emotions = Emotions(np.stack([row, unknown, row]), np.stack([row, unknown, unknown]))
        emotions.refusals.extend([None, Refusal.BLURRED, Refusal.UNSURE])
        trail = AuditTrail(AuditLog(folder), 0.0, classifier.labels, with_tracks)
        trail.context(classifier, TrackSettings(max_lost_s=0.5))
        trail.decided(12.5, ["a", "b", "c"], emotions, 7.25)
        trail.close()
        _, context, decision = records(folder)
        assert (context["model"], context["model_sha256"]) == (classifier.model_id, classifier.model_sha256)
        assert context["engine_sha256"] == context["model_sha256"]  # ONNX Runtime runs the file itself
        assert context["parameters"] == {"max_lost_s": 0.5}
    assert decision["context"] == context["context"]
    assert (decision["stamp"], decision["latency_ms"]) == (12.5, 7.25)
    assert decision["faces_since"] == {"answered": 1, "blurred": 1, "unsure": 1}
    first, second, third = decision["faces"]
    assert first["label"] == EMOTIONS_7[int(row.argmax())]
    assert first["distribution"] == pytest.approx(row.tolist(), abs=1e-4)
    assert first["refusal"] == ""
    assert (second["label"], second["confidence"], second["distribution"]) == ("unknown", 0.0, [])
    assert (second["refusal"], third["refusal"]) == ("blurred", "unsure")
    assert third["distribution"] == first["distribution"]  # for whoever asks later why nothing was said
    assert [face.get("track") for face in decision["faces"]] == (["a", "b", "c"] if with_tracks else [None] * 3)


def test_of_an_interval_one_decision_is_written_and_all_are_counted(folder: Path, tiny_bundle: Path) -> None:
    emotions = Emotions(np.full((1, 7), 1 / 7, np.float32), np.full((1, 7), 1 / 7, np.float32))
    trail = AuditTrail(AuditLog(folder), 0.5, EMOTIONS_7, True)
    stamps = [*(number / 8 for number in range(12)), 0.25, 0.375]  # ends with the beginning of a looped bag
    for stamp_s in stamps:
        trail.decided(stamp_s, ["a"], emotions, 5.0)
    trail.close()
    decisions = [record for record in records(folder) if record["kind"] == "decision"]
    assert [decision["stamp"] for decision in decisions] == [0.0, 0.5, 1.0, 0.25]
    assert [decision["images_since"] for decision in decisions] == [1, 4, 4, 4]
    assert [decision["faces_since"] for decision in decisions] == [{"answered": n} for n in (1, 4, 4, 4)]
