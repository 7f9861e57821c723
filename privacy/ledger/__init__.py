"""What a run has spent, on disk: the ledger, and from which runs a model came."""
