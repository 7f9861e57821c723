"""Corpora: speakers with utterances; loading, building, writing and statistics."""
