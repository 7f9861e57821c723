"""The client in a Ray simulation: how messages reach workers, and workers that are replaced."""
