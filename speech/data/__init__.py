"""From utterances to batches: examples, feature cache, batching."""
