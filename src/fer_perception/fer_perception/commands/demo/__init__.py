"""The whole suite on a source: runs it, records it, summarises it."""
