"""TensorRT: bindings, engine builder, cache and CUDA memory."""
