"""`murmur deploy approve` and the guard that runs only what the owner of a node approved."""
