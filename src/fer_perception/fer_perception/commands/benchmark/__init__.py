"""Latency, throughput and energy of a live pipeline, and of engines side by side."""
