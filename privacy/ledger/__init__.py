"""What runs have spent, on disk: the ledger, and the runs that a model was trained from."""
