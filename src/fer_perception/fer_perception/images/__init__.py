"""Pixels from messages, files, videos and cameras."""
