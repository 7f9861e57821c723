"""What a node keeps: its registered speakers, those who have left, and the folder of its records."""
