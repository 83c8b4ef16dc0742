"""Command-line tools, on top of core and nodes."""
