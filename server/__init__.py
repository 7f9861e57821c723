"""The coordinator: ServerApp, roll call, evaluation on held-out speakers, run folder, live table."""
