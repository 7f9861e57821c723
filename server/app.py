"""The ServerApp. What it does is in `server.entry`.

That is imported when the run begins: a simulation loads this app and the ClientApp one after the other before
it starts Ray, which need not wait for torch.
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
