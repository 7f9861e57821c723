"""Results of runs, one JSON file each, and what is computed from them: intervals and the board."""
