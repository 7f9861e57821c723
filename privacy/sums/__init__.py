"""Sums of clipped updates: packed for the network, checked before they are added."""
