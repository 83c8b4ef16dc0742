"""What the parameters of fer_node, face_node and emotion_node name, loaded."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fer_perception.bundle import Bundle
from fer_perception.emotion import EmotionClassifier
from fer_perception.faces import FaceFinder
from fer_perception.pipeline import EmotionPipeline, FacePipeline
from fer_perception.resources import resolve_face_model, resolve_model
from fer_perception.smoothing import Smoother
from fer_perception.tracking import Tracker

# One network for all nodes of a process, as long as one of them uses it; several threads may run it at once.
_classifiers: dict[tuple[Any, ...], EmotionClassifier] = {}
_users: Counter[tuple[Any, ...]] = Counter()


def load_face_pipeline(values: dict[str, Any]) -> FacePipeline:
    """The face stage.

    :raises FerError: the bundle or the face model cannot be used.
    """
    manifest = Bundle(resolve_model(values["model"])).manifest
    finder = FaceFinder(resolve_face_model(values["face_model"]), values["min_confidence"], values["max_faces"])
    seed = None if values["id_seed"] < 0 else values["id_seed"]
    return FacePipeline(finder, manifest, Tracker(values["max_lost_s"], seed))


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
    if key not in _classifiers:
        _classifiers[key] = EmotionClassifier(*key)
    _users[key] += 1
    return EmotionPipeline(_classifiers[key], Smoother(values["smoothing_s"], values["max_lost_s"]))


def close_emotion_pipeline(pipeline: EmotionPipeline) -> None:
    """Free the network where no other node of this process uses it."""
    key = next(key for key, classifier in _classifiers.items() if classifier is pipeline.classifier)
    _users[key] -= 1
    if not _users[key]:
        _classifiers.pop(key).close()


def update_emotion_pipeline(pipeline: EmotionPipeline, values: dict[str, Any]) -> None:
    """Hand changed parameters on."""
    pipeline.smoother.time_constant_s, pipeline.smoother.max_lost_s = values["smoothing_s"], values["max_lost_s"]
