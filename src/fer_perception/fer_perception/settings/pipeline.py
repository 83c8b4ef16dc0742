"""The settings of the pipeline and of its audit log."""

from __future__ import annotations

from typing import Literal

from fer_perception.settings.declaration import Settings, setting, with_default

Backend = Literal["auto", "tensorrt", "onnxruntime"]
FaceMode = Literal["keypoints", "mesh"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "int8"]
Range = Literal["near", "far", "auto"]
Privacy = Literal["off", "no_images", "strict"]


class ModelSettings(Settings):
    """Which model bundle."""

    model: str = setting("", "Model bundle: a folder, or the name of a shipped one; empty: the default")


class BackendSettings(Settings):
    """Where networks run."""

    backend: Backend = setting(
        "auto", "What runs the networks: tensorrt on a GPU, onnxruntime on the CPU; auto: TensorRT where it can be used"
    )


class EngineSettings(BackendSettings, ModelSettings):
    """What runs the emotion network."""

    precision: PrecisionChoice = setting(
        "auto", "Which file of the bundle; auto: of those it has, the fastest on this machine, on a CPU by measurement"
    )
    dla_core: int = setting(
        -1, "With TensorRT: the deep learning accelerator of that number; -1: the GPU", low=-1, high=7
    )
    threads: int = setting(
        0,
        "With ONNX Runtime: the faces of an image are divided among so many threads; 0: as many as pay off on this "
        "machine, by measurement",
        low=0,
        high=64,
    )
    prior: str = setting(
        "balanced",
        "How frequent emotions are taken to be; balanced: rare ones of the training data are not held back, as the "
        "bundle's prior_strength says; training: as in that data; or numbers summing to 1, with commas, by label",
    )


class TrackSettings(Settings):
    """How long faces are remembered."""

    max_lost_s: float = setting(
        1.0, "For how long an unseen face keeps its id", low=0.0, high=60.0, unit="s", changes="always"
    )


class PrivacySettings(Settings):
    """What leaves the process."""

    privacy: Privacy = setting(
        "no_images",
        "What leaves the process; off: all; no_images: no recognisable faces; strict: nothing that shows or measures "
        "one",
    )


class PixelSettings(Settings):
    """How pixels are read."""

    image_bits: Literal[0, 8, 10, 12, 14, 16] = setting(
        0,
        "How many bits of 16-bit images the camera uses, as 10 or 12 of infrared ones; 0: found from the images",
    )


class FaceSettings(TrackSettings, PrivacySettings, BackendSettings, ModelSettings, PixelSettings):
    """The face stage."""

    face_model: str = setting("", "Path of face_landmarker.task; empty: the one of make setup")
    detector_model: str = setting(
        "", "Path of YuNet's ONNX file; empty: the one of make setup; blazeface: MediaPipe's, for near faces only"
    )
    range: Range = setting(
        "auto",
        "How far away people are found, by a camera of 640 pixels and 60 degrees; near: 1.7 m, at the least cost; far: "
        "3.5 m in every image; auto: 3.5 m, searched for once a second, three times while nobody is there",
        changes="always",
    )
    image_rotation: Literal[0, 90, 180, 270] = setting(
        0,
        "Turn images clockwise by so much to have people upright; results are in pixels of the image as received",
        unit="deg",
        changes="always",
    )
    face_mode: FaceMode = setting(
        "keypoints",
        "keypoints: five points a face, meshes only for landmarks, while it has a subscriber; mesh: 478 points and "
        "head orientation in faces, always",
        changes="always",
    )
    min_confidence: float = setting(
        0.75, "Face detections with a lower confidence are ignored", low=0.3, high=1.0, changes="always"
    )
    max_faces: int = setting(10, "At most so many faces of an image", low=1, high=100, changes="always")
    id_seed: int = setting(-1, "Makes the ids the same in every run; -1: drawn at random", low=-1, high=2**31 - 1)


class EmotionSettings(TrackSettings, EngineSettings):
    """The emotion stage."""

    smoothing_s: float = setting(
        0.5,
        "Time constant of the smoothed emotions; 0: not smoothed",
        low=0.0,
        high=60.0,
        unit="s",
        changes="always",
    )
    min_face_px: int = setting(
        0,
        "Faces whose box is smaller get no emotion: its shorter side; 0: any",
        low=0,
        high=8192,
        unit="px",
        changes="always",
    )
    min_sharpness: float = setting(
        0.0,
        "Faces more blurred get no emotion: variance of the Laplacian over variance of the pixels; 0: any",
        low=0.0,
        high=100.0,
        changes="always",
    )
    max_yaw_deg: float = setting(
        90.0,
        "Heads turned further to the side get no emotion; 90: any",
        low=0.0,
        high=90.0,
        unit="deg",
        changes="always",
    )
    abstain_below: float = setting(
        0.0,
        "Predictions whose strongest label is less probable are withheld; 0: none; -1: the bundle's own threshold",
        low=-1.0,
        high=1.0,
    )


class PipelineSettings(FaceSettings, EmotionSettings):
    """The whole pipeline."""


class ReplaySettings(PipelineSettings):
    """The pipeline as ``replay`` runs it: one thread and fixed ids, so that each run gives the same bytes."""

    threads: int = with_default(PipelineSettings, "threads", 1)
    id_seed: int = with_default(PipelineSettings, "id_seed", 0)
    one_face: bool = setting(
        False, "Every image shows one face: detections of lower confidence count, as in fer_training"
    )


class AuditSettings(Settings):
    """The audit log."""

    folder: str = setting("", "Keep a log of the decisions in a folder of the node's name below this one; empty: none")
    interval_s: float = setting(
        1.0, "At most one record per interval; 0: one for every image", low=0.0, high=3600.0, unit="s"
    )
    file_mb: int = setting(16, "A new file is begun at this size", low=1, high=1024, unit="MB")
    total_mb: int = setting(
        512, "The oldest files are deleted beyond this size of all", low=2, high=1_000_000, unit="MB"
    )
    keep_days: int = setting(
        30, "Files are deleted after so many days; 0: kept until there are too many", low=0, high=3650, unit="days"
    )
