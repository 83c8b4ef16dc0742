"""Parameters of the nodes: declared once, with type, range, description and when they may be changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from fer_perception.choices import Backend, FaceMode, ImageTransport, PrecisionChoice, Privacy

Value = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is the default's.

    ``changes``: ``start``: read-only, fixed by what the node is started with; ``unconfigured``: read by the transition
    configure and refused until cleanup; ``always``: takes effect with the next image.
    """

    name: str
    default: Value
    description: str
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    changes: Literal["start", "unconfigured", "always"] = "unconfigured"

    @property
    def allowed(self) -> str:
        """The values it takes, in words; empty where the type says all."""
        if self.bounds:
            return f"{self.bounds[0]:.10g} to {self.bounds[1]:.10g}"
        return ", ".join(self.choices)

    def documentation(self) -> list[str]:
        """Cells of the parameter's row in docs/perception.md."""
        default = str(self.default).lower() if isinstance(self.default, bool) else str(self.default) or "(empty)"
        return [f"`{self.name}`", f"`{default}`", self.allowed, self.changes, self.description]

    def descriptor(self) -> ParameterDescriptor:
        """As ROS describes it; rclpy itself enforces the type and the range."""
        descriptor = ParameterDescriptor(
            description=self.description,
            read_only=self.changes == "start",
            additional_constraints=f"one of {self.allowed}" if self.choices else "",
        )
        if self.bounds and isinstance(self.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=self.bounds[0], to_value=self.bounds[1])]
        elif self.bounds:
            descriptor.integer_range = [IntegerRange(from_value=int(self.bounds[0]), to_value=int(self.bounds[1]))]
        return descriptor


AUTOSTART = Parameter(
    "autostart", True, "Configure and activate at start, without a lifecycle manager", changes="start"
)

MODEL = Parameter("model", "", "Model bundle: a folder, or the name of a shipped one; empty: the default")
PRECISION = Parameter(
    "precision",
    "auto",
    "Which file of the bundle; auto: of those it has, the fastest where it runs",
    choices=get_args(PrecisionChoice),
)
BACKEND = Parameter(
    "backend",
    "auto",
    "What runs the network: tensorrt on a GPU, onnxruntime on the CPU; auto: TensorRT where it can be used",
    choices=get_args(Backend),
)
DLA_CORE = Parameter(
    "dla_core", -1, "With TensorRT: the deep learning accelerator of that number; -1: the GPU", bounds=(-1, 7)
)
THREADS = Parameter(
    "threads",
    2,
    "With ONNX Runtime: the faces of an image are shared out among so many threads; 0: one per core",
    bounds=(0, 64),
)
FACE_MODEL = Parameter("face_model", "", "Path of face_landmarker.task; empty: the one of make setup")
FACE_MODE = Parameter(
    "face_mode",
    "keypoints",
    "keypoints: six points a face, a mesh only while someone subscribes to landmarks; mesh: 478 points and head "
    "orientation in faces, always",
    choices=get_args(FaceMode),
    changes="always",
)
MIN_CONFIDENCE = Parameter(
    "min_confidence", 0.75, "Weaker face detections are ignored", bounds=(0.3, 1.0), changes="always"
)
MAX_FACES = Parameter("max_faces", 10, "At most so many faces of an image", bounds=(1, 100), changes="always")
MAX_LOST_S = Parameter(
    "max_lost_s", 1.0, "For how long an unseen face keeps its id, in seconds", bounds=(0.0, 60.0), changes="always"
)
ID_SEED = Parameter("id_seed", -1, "Makes the ids the same in every run; -1: drawn at random", bounds=(-1, 2**31 - 1))
SMOOTHING_S = Parameter(
    "smoothing_s",
    0.5,
    "Time constant of the smoothed emotions, in seconds; 0: not smoothed",
    bounds=(0.0, 60.0),
    changes="always",
)

MIN_FACE_PX = Parameter(
    "min_face_px",
    0,
    "Faces whose box is smaller get no emotion: its shorter side in pixels; 0: any",
    bounds=(0, 8192),
    changes="always",
)
MIN_SHARPNESS = Parameter(
    "min_sharpness",
    0.0,
    "Faces more blurred get no emotion: variance of the Laplacian over variance of the pixels; 0: any",
    bounds=(0.0, 100.0),
    changes="always",
)
MAX_YAW_DEG = Parameter(
    "max_yaw_deg",
    90.0,
    "Heads turned further to the side get no emotion, in degrees; 90: any",
    bounds=(0.0, 90.0),
    changes="always",
)
ABSTAIN_BELOW = Parameter(
    "abstain_below",
    0.0,
    "Answers whose strongest label is less probable are withheld; 0: none; -1: the bundle's own threshold",
    bounds=(-1.0, 1.0),
)

PRIVACY = Parameter(
    "privacy",
    "no_images",
    "What leaves the process; off: all; no_images: no recognisable faces; strict: nothing that shows or measures one",
    choices=get_args(Privacy),
)
SHOW_ATTENTION = Parameter(
    "show_attention", False, "Draw over each face where the network looked, if the model has such maps; not with strict"
)
AUDIT_FOLDER = Parameter(
    "audit.folder", "", "Keep a log of the decisions in a folder of the node's name below this one; empty: none"
)
AUDIT_INTERVAL_S = Parameter(
    "audit.interval_s", 1.0, "At most one record in so many seconds; 0: one for every image", bounds=(0.0, 3600.0)
)
AUDIT_FILE_MB = Parameter("audit.file_mb", 16, "A new file is begun at so many megabytes", bounds=(1, 1024))
AUDIT_TOTAL_MB = Parameter(
    "audit.total_mb", 512, "The oldest files are deleted beyond so many megabytes", bounds=(2, 1_000_000)
)
AUDIT_KEEP_DAYS = Parameter(
    "audit.keep_days", 30, "Files are deleted after so many days; 0: kept until there are too many", bounds=(0, 3650)
)

IMAGE_TRANSPORT = Parameter(
    "image_transport", "raw", "raw: sensor_msgs/Image; compressed: CompressedImage", choices=get_args(ImageTransport)
)
IMAGE_RELIABILITY = Parameter(
    "image_reliability",
    "best_effort",
    "Quality of service asked of the images' publisher",
    choices=("best_effort", "reliable"),
)
IMAGE_DEPTH = Parameter("image_depth", 1, "Images that the middleware keeps until they are taken", bounds=(1, 100))
IMAGE_TIMEOUT_S = Parameter(
    "image_timeout_s", 5.0, "Without an image for so long, the node warns and says why", bounds=(0.1, 3600.0)
)

ENGINE_PARAMETERS = (MODEL, PRECISION, BACKEND, DLA_CORE, THREADS)
FACE_PARAMETERS = (FACE_MODEL, FACE_MODE, MIN_CONFIDENCE, MAX_FACES, MAX_LOST_S, ID_SEED)
GATE_PARAMETERS = (MIN_FACE_PX, MIN_SHARPNESS, MAX_YAW_DEG, ABSTAIN_BELOW)
AUDIT_PARAMETERS = (AUDIT_FOLDER, AUDIT_INTERVAL_S, AUDIT_FILE_MB, AUDIT_TOTAL_MB, AUDIT_KEEP_DAYS)
IMAGE_PARAMETERS = (IMAGE_TRANSPORT, IMAGE_RELIABILITY, IMAGE_DEPTH, IMAGE_TIMEOUT_S)
