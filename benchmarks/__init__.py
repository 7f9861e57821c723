"""Measurements with their committed output: each script writes the page of its name."""
