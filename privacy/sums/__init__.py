"""Sums of clipped updates: packed for the way, checked before they are added."""
