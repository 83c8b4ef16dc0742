"""A training run: configuration, checkpoints, folder."""
