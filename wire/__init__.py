"""What server and nodes say to each other: messages, records, and how large they may be.

Both sides import it. It imports nothing of Flower's server side.
"""
