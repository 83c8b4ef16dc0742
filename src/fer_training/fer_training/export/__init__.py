"""From a run to a model bundle: ONNX, precisions, attention maps."""
