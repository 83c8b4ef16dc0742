"""Datasets made of others: seen through the camera model, or with several label sets."""
