"""How the norm of an update is bounded: clip bounds per layer, adaptive bounds, integer quantisation."""
