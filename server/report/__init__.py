"""What a person reads of a run: live table, summary, metrics, model card."""
