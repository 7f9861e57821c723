"""How much a run has spent: RDP and PLD accountants, calibration, filters, group privacy."""
