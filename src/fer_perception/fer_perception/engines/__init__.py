"""What runs a network: ONNX Runtime or TensorRT."""
