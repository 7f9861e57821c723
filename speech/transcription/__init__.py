"""Transcription of recordings of any length: segmentation, stitching, output formats."""
