"""What the parameters of fer_node, face_node and emotion_node name, loaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from fer_perception.audit.log import AuditLog, AuditTrail, Limits
from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.emotions.quality_gate import GATE_SETTINGS, QualityGate, make_gate
from fer_perception.emotions.smoothing import Smoother
from fer_perception.errors import FerError
from fer_perception.faces.detector import FaceFinder
from fer_perception.faces.tracker import Tracker
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_face_model, resolve_model
from fer_perception.pipeline import EmotionPipeline, FacePipeline

# One network for all nodes of a process, as long as one of them uses it; several threads may run it at once.
_classifiers: dict[tuple[Any, ...], EmotionClassifier] = {}
_users: Counter[tuple[Any, ...]] = Counter()


def load_face_pipeline(values: dict[str, Any]) -> FacePipeline:
    """The face stage.

    :raises FerError: the bundle or the face model cannot be used.
    """
    manifest = Bundle(resolve_model(values["model"])).manifest
    seed = None if values["id_seed"] < 0 else values["id_seed"]
    unlinkable = values["privacy"] == "strict"
    if unlinkable and seed is not None:
        raise FerError("privacy strict draws ids at random, and id_seed would make them known. Set id_seed to -1")
    finder = FaceFinder(resolve_face_model(values["face_model"]), values["min_confidence"], values["max_faces"])
    return FacePipeline(finder, manifest, Tracker(values["max_lost_s"], seed, unlinkable))


def update_face_pipeline(pipeline: FacePipeline, values: dict[str, Any]) -> None:
    """Hand changed parameters on."""
    pipeline.finder.min_confidence, pipeline.finder.max_faces = values["min_confidence"], values["max_faces"]
    pipeline.tracker.max_lost_s = values["max_lost_s"]


def load_emotion_pipeline(values: dict[str, Any]) -> EmotionPipeline:
    """The emotion stage; to be given back by :func:`close_emotion_pipeline`.

    :raises FerError: the bundle or the engine cannot be used.
    """
    names = ("precision", "threads", "backend", "dla_core")
    key = (str(resolve_model(values["model"])), *(values[name] for name in names))
    gate = _gate(Bundle(key[0]), values)
    if key not in _classifiers:
        _classifiers[key] = EmotionClassifier(*key)
    _users[key] += 1
    classifier, smoother = _classifiers[key], Smoother(values["smoothing_s"], values["max_lost_s"])
    return EmotionPipeline(classifier, smoother, gate)


def close_emotion_pipeline(pipeline: EmotionPipeline) -> None:
    """Free the network where no other node of this process uses it."""
    key = next(key for key, classifier in _classifiers.items() if classifier is pipeline.classifier)
    _users[key] -= 1
    if not _users[key]:
        _classifiers.pop(key).close()


def update_emotion_pipeline(pipeline: EmotionPipeline, values: dict[str, Any]) -> None:
    """Hand changed parameters on."""
    pipeline.smoother.time_constant_s, pipeline.smoother.max_lost_s = values["smoothing_s"], values["max_lost_s"]
    pipeline.gate = _gate(pipeline.classifier.bundle, values)


def open_audit_trail(values: dict[str, Any], node: str, classifier: EmotionClassifier) -> AuditTrail | None:
    """The node's audit trail, where one is wanted; to be closed.

    :param node: its full name, after which its folder is called.
    :raises FerError: the folder cannot be used.
    """
    if not values["audit.folder"]:
        return None
    limits = Limits.in_megabytes(values["audit.file_mb"], values["audit.total_mb"], values["audit.keep_days"])
    audit_log = AuditLog(Path(values["audit.folder"]).expanduser() / node.strip("/").replace("/", "."), limits)
    with_tracks = values.get("privacy") != "strict"
    trail = AuditTrail(audit_log, values["audit.interval_s"], classifier.labels, with_tracks)
    trail.context(classifier, values)
    return trail


def _gate(bundle: Bundle, values: dict[str, Any]) -> QualityGate:
    return make_gate(bundle, **{name: values[name] for name in GATE_SETTINGS})
