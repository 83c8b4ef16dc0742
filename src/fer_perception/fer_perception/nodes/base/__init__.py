"""What the nodes have in common."""
