"""What the nodes publish beside their results: each with what it needs, made in the transition configure."""
