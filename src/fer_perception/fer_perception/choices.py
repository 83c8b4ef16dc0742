"""The values of settings that are words: of the nodes' parameters, command-line options and launch arguments."""

from typing import Literal

Backend = Literal["auto", "tensorrt", "onnxruntime"]
FaceMode = Literal["keypoints", "mesh"]
ImageTransport = Literal["raw", "compressed"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "int8"]
Privacy = Literal["off", "no_images", "strict"]
