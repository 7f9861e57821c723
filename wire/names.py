"""Names that both sides use before they load anything else; this module imports nothing."""

DECLARE = "declare"
"""The name of the query in which a server declares its plan and asks whether a node takes part."""
