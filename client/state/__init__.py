"""What a node keeps on its disk: who registered, who has left."""
