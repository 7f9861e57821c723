"""What a run leaves on disk: run folder, checkpoints and ledgers; and how a run is resumed from them."""
