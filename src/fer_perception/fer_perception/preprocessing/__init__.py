"""From a face in an image to the network's input: alignment and normalization."""
