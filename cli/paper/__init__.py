"""`murmur paper`: the tables of arXiv 2310.00098, as recipes to run and as epsilons to recompute."""
