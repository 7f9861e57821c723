"""The documentation as a site: `python -m docs_site`, or `make docs`.

The sources are docs/ and whatever its pages link to. The reference is made from the code: configuration keys
from the schema, commands from the command line itself, extension points from their docstrings. Zensical makes
the pages; then every link, anchor and resource of the result is checked here.
"""
