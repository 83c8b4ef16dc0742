"""Metrics of predictions against ground truth."""
