"""How well a model transcribes: error rates, confidence intervals, comparisons."""
