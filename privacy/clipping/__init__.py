"""How an update is bounded: clip bounds by layer, adaptive bounds, integer quantisation."""
