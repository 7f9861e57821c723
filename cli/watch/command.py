"""`murmur watch`: the page of a run on this machine, which follows it as its rounds end."""

from __future__ import annotations

import ipaddress
import secrets
import threading
from pathlib import Path
from typing import Annotated

import typer

from cli.exits import INTERRUPTED, REFUSED
from cli.report.command import Reader


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or its name in the runs folder.")],
    reader: Annotated[
        Reader,
        typer.Option(
            "--for",
            help="owner: also cohorts, nodes, traffic and metrics without noise, as you run the server. "
            "public: what the public report of the run will show.",
        ),
    ] = Reader.owner,
    host: Annotated[
        str, typer.Option(help="The address to serve it at; by default for this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 0,
) -> None:
    """Show a run on a page of this machine that follows it as its rounds end."""
    from cli.report.page_view import Asked
    from cli.watch.live_page import LivePage
    from cli.watch.web_server import WebServer
    from privacy import PrivacyError
    from recipes import ConfigError, existing_run
    from server.errors import ResumeRefused

    asked = Asked(
        audience=reader.value,
        corpus_may_be_published=False,
        command=f"murmur watch --for {reader.value}",
    )
    page = LivePage(existing_run(run).resolve(), asked, _say)
    try:
        page.begin()
    except (ConfigError, PrivacyError, ResumeRefused, ValueError, OSError) as error:
        _say(str(error))
        raise typer.Exit(REFUSED) from None
    try:
        server = WebServer(host, port, secrets.token_urlsafe(), page)
    except OSError as error:
        _say(f"--host {host} --port {port}: {error.strerror or error}; give another port, or leave it out")
        raise typer.Exit(REFUSED) from None
    if not _is_loopback(str(server.server_address[0])):
        _say(
            f"--host {host}: the page goes over the network unencrypted, so whoever reads along learns its "
            "address and sees what you see; 127.0.0.1 with an SSH tunnel keeps it to yourself"
        )
    typer.echo(f"{server.url}\nfor you alone: whoever has this address sees the page. Ctrl-C ends it.")
    threading.Thread(target=page.follow, daemon=True).start()
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            _say("stopped; the run goes on")
            raise typer.Exit(INTERRUPTED) from None


def _say(what: str) -> None:
    typer.echo(f"murmur watch: {what}", err=True)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
