"""The coordinator: ServerApp, registration, evaluation on held-out speakers, run folder, live table."""
