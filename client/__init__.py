"""What runs beside the data: the ClientApp, local training, and what a node's owner allows."""
