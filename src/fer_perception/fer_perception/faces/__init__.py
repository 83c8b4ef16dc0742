"""Where faces are, and which face is which."""
