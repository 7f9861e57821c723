"""Gaussian noise: the exact sampler, seeded noise for simulations, noise shapes, correlated noise."""
