"""`murmur track`: the public metrics of a run, for the trackers that teams have."""
