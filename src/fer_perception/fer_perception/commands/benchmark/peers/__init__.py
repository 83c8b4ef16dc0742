"""Other systems on the same images: see :mod:`fer_perception.commands.benchmark.peers.measure`."""
