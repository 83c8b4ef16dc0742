"""Nodes and threads that write bags and videos."""
