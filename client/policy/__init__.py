"""What a node does, whatever the server asks: its owner's limits, and a count of what was asked."""
