"""`murmur ledger`."""
