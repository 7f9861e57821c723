"""The reports of a run: live table, summary, metrics, model card."""
