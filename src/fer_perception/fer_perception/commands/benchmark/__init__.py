"""Latency, throughput and energy of a live pipeline, of engines side by side, and how far faces are found."""
