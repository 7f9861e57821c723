"""From utterances to batches: examples, the cache of their features, batching."""
