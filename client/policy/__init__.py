"""What a node does and does not do, whatever the server asks: the owner's limits, and counts of trainings."""
