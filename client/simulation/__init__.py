"""The client in a Ray simulation: workers that are replaced when they die, in the place of Flower's own."""
