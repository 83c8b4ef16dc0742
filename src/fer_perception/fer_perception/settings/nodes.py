"""The settings of the nodes: their ROS parameters."""

from __future__ import annotations

from typing import Literal

from fer_perception.settings.declaration import Settings, setting, with_default
from fer_perception.settings.pipeline import (
    AuditSettings,
    EmotionSettings,
    FaceSettings,
    PipelineSettings,
    PixelSettings,
    PrivacySettings,
)

ImageReliability = Literal["best_effort", "reliable"]
ImageTransport = Literal["raw", "compressed"]

PORTRAIT = "astronaut"  # the source that is a moving test image


class InputSettings(Settings):
    """Any input."""

    image_timeout_s: float = setting(
        5.0, "Without an image for so long, the node warns and says why", low=0.1, high=3600.0, unit="s"
    )


class ImageSettings(InputSettings, PixelSettings):
    """The input ``image``."""

    image_transport: ImageTransport = setting("raw", "raw: sensor_msgs/Image; compressed: CompressedImage")
    image_reliability: ImageReliability = setting(
        "best_effort", "Quality of service requested of the images' publisher"
    )
    image_depth: int = setting(1, "Images that the middleware keeps until they are taken", low=1, high=100)


class LandmarksSettings(Settings):
    """The topic ``landmarks``."""

    landmarks_rate_hz: float = setting(
        5.0,
        "With face_mode keypoints: landmarks is published at most so often, as a mesh takes long; 0: for every image",
        low=0.0,
        high=1000.0,
        unit="Hz",
        changes="always",
    )


class PoseSettings(Settings):
    """Where faces are in space."""

    camera_info: str = setting(
        "", "Topic of the camera's sensor_msgs/CameraInfo, for positions; empty: camera_info beside the images"
    )
    publish_tf: bool = setting(
        False,
        "Publish the frames face_ID and gaze_ID of faces whose position is known (REP 155)",
        changes="unconfigured",
    )


class NodeSettings(Settings):
    """Any node."""

    autostart: bool = setting(
        True,
        "Configure and activate at start; false: leave that to ros2 lifecycle or a manager",
        changes="start",
    )


class FerNodeSettings(ImageSettings, PipelineSettings, LandmarksSettings, PoseSettings, NodeSettings):
    """``fer_node``."""

    audit: AuditSettings = AuditSettings()


class FaceNodeSettings(ImageSettings, FaceSettings, LandmarksSettings, PoseSettings, NodeSettings):
    """``face_node``."""


class EmotionNodeSettings(InputSettings, EmotionSettings, NodeSettings):
    """``emotion_node``."""

    audit: AuditSettings = AuditSettings()


class ShownSettings(ImageSettings, PrivacySettings, NodeSettings):
    """What is shown of images and their results."""

    show_attention: bool = setting(
        False, "Draw over each face where the network looked, if the model has such maps; not with strict"
    )


class OverlayNodeSettings(ShownSettings):
    """``overlay_node``."""


class ViewNodeSettings(ShownSettings):
    """``view_node``."""

    view_address: str = setting(
        "127.0.0.1", "Where the view listens; 127.0.0.1: for this machine alone; 0.0.0.0: for everybody who reaches it"
    )
    view_port: int = setting(
        9500, "Port of the view's page, and the next one of its data; 0: two free ones", low=0, high=65534
    )


class HriNodeSettings(ImageSettings, PrivacySettings, NodeSettings):
    """``hri_node``."""

    lost_after_s: float = setting(
        0.5,
        "For how long an unseen face stays in the list of tracked faces, in the images' time",
        low=0.0,
        high=60.0,
        unit="s",
        changes="always",
    )


class HriExpressionNodeSettings(InputSettings, EmotionSettings, NodeSettings):
    """``hri_expression_node``."""


class PlayerSettings(NodeSettings):
    """A node that publishes images until its source ends."""

    wait_for_subscribers: int = setting(0, "Send the first image when so many subscribers are there", low=0, high=100)


class SourceNodeSettings(PlayerSettings):
    """``source_node``."""

    source: str = setting(PORTRAIT, f"Camera index, video, image, folder of images, or '{PORTRAIT}' (a test image)")
    fps: float = setting(
        0.0, "Rate of the images; 0: the source's own, 30 for single images", low=0.0, high=1000.0, unit="Hz"
    )
    still_s: float = setting(2.0, "For how long each single image is shown", low=0.0, high=3600.0, unit="s")
    duration_s: float = setting(0.0, "End after so long; 0: never", low=0.0, high=1e6, unit="s")
    loop: bool = setting(False, "Begin again at the end")
    frame_id: str = setting("camera_optical_frame", "frame_id of the images (REP 105)")
    max_side: int = setting(
        1280, "Larger images are shrunk to this length of their longer side; 0: never", low=0, high=8192, unit="px"
    )


class BagPlayerSettings(PlayerSettings):
    """``bag_player``."""

    bag: str = setting("", "A bag's folder, or a single .mcap or .db3 file")
    topic: str = setting("", "The topic of its images; empty: the only one")
    start_s: float = setting(0.0, "Begin so long after the bag's first message", low=0.0, high=1e9, unit="s")
    end_s: float = setting(0.0, "End so long after the bag's first message; 0: at its end", low=0.0, high=1e9, unit="s")
    rate: float = setting(1.0, "So many times as fast as it was recorded", low=0.01, high=100.0)
    wait_for_subscribers: int = with_default(PlayerSettings, "wait_for_subscribers", 1)


NODE_SETTINGS: dict[str, type[NodeSettings]] = {
    "fer_node": FerNodeSettings,
    "face_node": FaceNodeSettings,
    "emotion_node": EmotionNodeSettings,
    "source_node": SourceNodeSettings,
    "bag_player": BagPlayerSettings,
    "overlay_node": OverlayNodeSettings,
    "view_node": ViewNodeSettings,
    "hri_node": HriNodeSettings,
    "hri_expression_node": HriExpressionNodeSettings,
}
