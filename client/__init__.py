"""What runs beside the data: the Flower ClientApp, local training, a node's share of a cohort."""
