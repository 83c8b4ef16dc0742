"""Every setting of the pipeline and its nodes, declared once: type, range, unit, default, description, when it changes.

ROS parameters, command-line options, launch arguments and docs/parameters.md are made from these models. A nested
model's fields are named with a dot: ``audit.folder``.
"""

from fer_perception.settings.declaration import Changes, Setting, Settings, Value, from_values, settings_of, values_of
from fer_perception.settings.nodes import (
    NODE_SETTINGS,
    PORTRAIT,
    BagPlayerSettings,
    EmotionNodeSettings,
    FaceNodeSettings,
    FerNodeSettings,
    HriExpressionNodeSettings,
    HriNodeSettings,
    ImageReliability,
    ImageSettings,
    ImageTransport,
    NodeSettings,
    OverlayNodeSettings,
    PlayerSettings,
    SourceNodeSettings,
)
from fer_perception.settings.pipeline import (
    AuditSettings,
    Backend,
    EmotionSettings,
    EngineSettings,
    FaceMode,
    FaceSettings,
    ModelSettings,
    PipelineSettings,
    PrecisionChoice,
    Privacy,
    ReplaySettings,
)

__all__ = [
    "NODE_SETTINGS",
    "PORTRAIT",
    "AuditSettings",
    "Backend",
    "BagPlayerSettings",
    "Changes",
    "EmotionNodeSettings",
    "EmotionSettings",
    "EngineSettings",
    "FaceMode",
    "FaceNodeSettings",
    "FaceSettings",
    "FerNodeSettings",
    "HriExpressionNodeSettings",
    "HriNodeSettings",
    "ImageReliability",
    "ImageSettings",
    "ImageTransport",
    "ModelSettings",
    "NodeSettings",
    "OverlayNodeSettings",
    "PipelineSettings",
    "PlayerSettings",
    "PrecisionChoice",
    "Privacy",
    "ReplaySettings",
    "Setting",
    "Settings",
    "SourceNodeSettings",
    "Value",
    "from_values",
    "settings_of",
    "values_of",
]
