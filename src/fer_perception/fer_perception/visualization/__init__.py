"""Results drawn into images."""
