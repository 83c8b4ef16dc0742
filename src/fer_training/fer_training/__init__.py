"""Training, evaluation and export of the emotion networks that fer_perception serves.

Labels, preprocessing and the bundle format are imported from fer_perception, so that they cannot differ between
training and serving.
"""

import fer_perception  # noqa: F401  before all else: it switches ONNX Runtime's telemetry off
