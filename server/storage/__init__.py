"""What a run leaves on disk: run folder, checkpoints, ledgers, and how a run is resumed from them."""
