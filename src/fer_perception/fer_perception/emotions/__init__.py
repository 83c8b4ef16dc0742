"""What a face shows: classifier, smoothing, quality gate, attention maps, REP-155 words."""
