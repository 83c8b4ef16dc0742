"""Model bundles, and those that are shipped."""
