"""The ServerApp; its work is in `server.entry`.

`server.entry` is imported when the run begins, not before: a simulation loads this app and the ClientApp one
after the other before it starts Ray, and this need not wait until torch is loaded.
"""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a federation."""
    from server.entry import serve

    serve(grid, context)
