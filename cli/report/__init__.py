"""`murmur report`: one HTML file about one or several runs, for their owner or for the public."""
