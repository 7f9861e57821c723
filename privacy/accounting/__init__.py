"""How much privacy a run has spent: RDP and PLD accountants, calibration, budgets, filters, group privacy."""
