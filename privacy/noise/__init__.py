"""Gaussian noise: exact samplers, seeded noise for tests, shapes, correlated noise."""
