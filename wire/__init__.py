"""The messages between server and nodes: their records, and their largest sizes.

Both sides import this package. It imports nothing of Flower's server side.
"""
