"""`murmur deploy`: the certificates, keys and secret of a federation over TLS, and its guest list.

Guarantee: private files are made with mode 0600 from their first byte and nothing is ever overwritten;
no private key is printed or logged. Certificates are checked by Flower's own gRPC and HTTP stacks, node
keys by Flower's own registry (`flwr supernode`): nothing here is a protocol of ours.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Annotated, Any, ParamSpec

import tomli_w
import typer

from base.printable_text import one_line
from cli.approval import releases
from cli.approval.clientapp import clientapp
from cli.deploy import credentials
from cli.deploy.credentials import CredentialError
from cli.exits import REFUSED
from cli.processes import QUIET, tool

REVOKED = ".revoked"
LONGEST_LINE = 2000
DEFAULT = "default"  # in config.toml, the key that names a connection among the tables of connections
LOCAL = ":local"  # an address that begins so has `flwr` start a SuperLink on this machine
CONNECTION_NAME = re.compile(r"[A-Za-z0-9_-]+")
KEY_IS_KNOWN = "already in use"  # in what Flower says of a key that it has, or had

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Make the certificates and keys of a deployment; admit and revoke nodes.",
)
P = ParamSpec("P")
Folder = Annotated[Path, typer.Option("--folder", "-d", help="Where the deployment's credentials lie.")]
Days = Annotated[int, typer.Option(min=1, max=credentials.MOST_DAYS, help="For how many days it is valid.")]
Passphrase = Annotated[
    Path | None, typer.Option("--passphrase-file", help="Its first line opens ca.key, which it encrypts.")
]
Connection = Annotated[
    str | None, typer.Option("--superlink", help="A connection of Flower's config.toml; else its default.")
]


def plainly(command: Callable[P, None]) -> Callable[P, None]:
    """A person who mistyped wants the sentence, not the traceback."""

    @wraps(command)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except CredentialError as error:
            # Some of the words may be a SuperLink's.
            typer.echo(one_line(f"murmur deploy: {error}", most=LONGEST_LINE), err=True)
            raise typer.Exit(REFUSED) from None

    return spoken


@app.command("ca")
@plainly
def authority(
    folder: Folder = Path("."),
    name: Annotated[str, typer.Option(help="The authority's common name.")] = "Murmuration federation",
    days: Days = 3650,
    passphrase_file: Passphrase = None,
) -> None:
    """Make the certificate authority: ca.crt goes to every node, ca.key stays in a safe place."""
    _said(credentials.make_authority(folder, name=name, days=days, passphrase=_first_line(passphrase_file)))


@app.command("server-cert")
@plainly
def server_certificate(
    names: Annotated[
        list[str], typer.Argument(help="Every DNS name and IP address that clients will use for it.")
    ],
    folder: Folder = Path("."),
    out: Annotated[str, typer.Option(help="Files are called <out>.crt and <out>.key.")] = "server",
    days: Days = 365,
    passphrase_file: Passphrase = None,
) -> None:
    """Make the SuperLink's certificate, signed by the authority in the same folder."""
    _said(
        credentials.make_certificate(
            folder, names, name=out, days=days, passphrase=_first_line(passphrase_file)
        )
    )


@app.command("renew")
@plainly
def renew(
    folder: Folder = Path("."),
    name: Annotated[str, typer.Option("--name", help="Its files are <name>.crt and <name>.key.")] = "server",
    days: Days = 365,
    passphrase_file: Passphrase = None,
) -> None:
    """Make the SuperLink's certificate anew, with a new key, for the same names; the old pair is kept."""
    _said(
        credentials.renew_certificate(folder, name=name, days=days, passphrase=_first_line(passphrase_file))
    )
    typer.echo("put both in place, then: systemctl restart murmuration-superlink murmuration-proxy")


@app.command("node-key")
@plainly
def node_key(
    names: Annotated[list[str], typer.Argument(help="One name a SuperNode, for example clinic-a.")],
    folder: Folder = Path("."),
) -> None:
    """Make SuperNode keys (ECDSA P-384): <name>.key stays on the node, <name>.pub is registered."""
    for name in names:
        _said(credentials.make_node_key(folder, name))


@app.command("secret")
@plainly
def secret(folder: Folder = Path(".")) -> None:
    """Make the secret that SuperLink and SuperExec share: without it no process gets the server's task."""
    _said(credentials.make_secret(folder))


@app.command("connection")
@plainly
def connection(
    address: Annotated[str, typer.Argument(help="The SuperLink's backend address, host:port.")],
    folder: Folder = Path("."),
    name: Annotated[str, typer.Option(help="What to call it.")] = "deployment",
) -> None:
    """Write Flower's config.toml (into $FLWR_HOME, else ~/.flwr) so that `flwr` finds the SuperLink."""
    if not CONNECTION_NAME.fullmatch(name) or name == DEFAULT:
        raise CredentialError(
            f"--name {name!r} is no name of a connection: use letters, digits, '-' and '_' only, and not "
            f"{DEFAULT!r}"
        )
    if not credentials.is_address(address):
        raise CredentialError(f"{address!r} is no address: write it as host:8000, without a scheme")
    authority_file = (folder / credentials.AUTHORITY).with_suffix(".crt").resolve()
    if not authority_file.exists():
        raise CredentialError(f"{authority_file} is missing: copy ca.crt there, or give its --folder")
    link = {"address": address, "root-certificates": str(authority_file)}
    text = tomli_w.dumps({"superlink": {DEFAULT: name, name: link}})
    _said([credentials.write_new(_flower_config(), text.encode(), private=False)])


@app.command("register")
@plainly
def register(
    public_keys: Annotated[list[Path], typer.Argument(help="<name>.pub of the nodes to admit.")],
    superlink: Connection = None,
) -> None:
    """Admit nodes by their public keys; each node's number is noted beside its key, in <name>.id."""
    for key in public_keys:
        credentials.check_public_key(key)
        if key.with_suffix(REVOKED).exists():
            raise CredentialError(f"{key} was revoked, for good: make a new key under another name")
        _require_writable(key.with_suffix(".id"))
    connection = _connection(superlink)
    for key in public_keys:
        name = ["--name", key.stem]
        try:
            answer = _flwr("supernode", "register", str(key), *connection, *name)
        except CredentialError as error:
            if KEY_IS_KNOWN not in str(error):
                raise
            typer.echo(
                f"{key.stem}: its key was registered before, and is let in unless it was revoked; its number "
                "is not noted here (`flwr supernode list` shows all numbers)"
            )
            continue
        number = one_line(str(answer["node-id"]))
        key.with_suffix(".id").write_text(number + "\n", encoding="utf-8")
        typer.echo(f"{key.stem}: registered as node {number}")


@app.command("revoke")
@plainly
def revoke(
    nodes: Annotated[list[str], typer.Argument(help="<name>.pub of the nodes to shut out, or node numbers.")],
    superlink: Connection = None,
) -> None:
    """Shut nodes out: their keys are refused from now on, and for good (a new key lets one in again).

    <name>.id becomes <name>.revoked.
    """
    connection = _connection(superlink)
    for node in nodes:
        _flwr("supernode", "unregister", _number_of(node), *connection)
        typer.echo(f"{node}: revoked")
        if not node.isdecimal():
            Path(node).with_suffix(".id").replace(Path(node).with_suffix(REVOKED))


app.command("digest")(plainly(releases.show_digest))
app.command("approve")(plainly(releases.approve_releases))
app.command("release-key")(plainly(releases.release_key))
app.command("sign")(plainly(releases.sign_release))
app.command("clientapp")(plainly(clientapp))


@app.command("run")
@plainly
def run(
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe over the defaults.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", "-c", metavar="KEY=VALUE", help="A setting over the recipe's; repeatable."),
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(help="For nodes that approve a release key: what `sign` made.")
    ] = None,
    superlink: Connection = None,
) -> None:
    """Submit a run, follow its log through restarts of the SuperLink, end with the run's own status."""
    # Imported here: everything else in this module also works without torch.
    from cli.composing import staged_app
    from cli.deploy.follow import follow
    from cli.deploy.submit import settings_file

    connection = _connection(superlink)
    signed = [f"run.release-signature='{releases.read_signature(signature)}'"] if signature else []
    with settings_file(recipe, [*(setting or []), *signed]) as settings, TemporaryDirectory() as folder:
        answer = _flwr("run", str(staged_app(Path(folder))), *connection, *settings)
    raise typer.Exit(follow(str(answer["run-id"]), connection))


def _first_line(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        line = file.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise CredentialError(
            f"--passphrase-file {file} cannot be read: {error.strerror}; let this user read it"
        ) from None
    if not line:
        raise CredentialError(f"--passphrase-file {file} has no passphrase in its first line: write it there")
    return line


def _number_of(node: str) -> str:
    if node.isdecimal():
        return node
    note = Path(node).with_suffix(".id")
    try:
        return note.read_text(encoding="utf-8").strip()
    except OSError:
        raise CredentialError(
            f"{note} is missing, so the number of {node} is not known here: give the node number "
            "itself (`flwr supernode list` shows them)"
        ) from None


def _require_writable(note: Path) -> None:
    """Find out before Flower takes the key, and not after it, that its number cannot be noted."""
    try:
        if note.exists():
            note.open("a").close()
        else:
            TemporaryFile(dir=note.parent).close()
    except OSError as error:
        raise CredentialError(
            f"{note}, where the node's number is noted, cannot be written ({error.strerror}): let this user "
            "write it, or copy the .pub into a folder of yours"
        ) from None


def _flower_config() -> Path:
    return Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr") / "config.toml"


def _connection(superlink: str | None) -> list[str]:
    """The connection as an argument of `flwr`, which would start a SuperLink of its own for a local one."""
    file = _flower_config()
    remedy = "`murmur deploy connection host:8000` writes one that names the deployment's SuperLink"
    try:
        known = tomllib.loads(file.read_text(encoding="utf-8")).get("superlink", {})
    except OSError as error:
        raise CredentialError(f"{file} cannot be read ({error.strerror}): {remedy}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CredentialError(f"{file} is no TOML ({error}): mend it, or move it away; {remedy}") from None
    name = superlink or known.get(DEFAULT)
    named = known.get(name)
    if not isinstance(named, dict) or str(named.get("address", LOCAL)).startswith(LOCAL):
        raise CredentialError(
            f"{file} names no SuperLink's address as connection {name!r}: give another with --superlink, or "
            f"move the file away; {remedy}"
        )
    return [superlink] if superlink else []


def _flwr(*arguments: str) -> dict[str, Any]:
    """A `flwr` command's JSON answer; its words as our error where it says no."""
    done = subprocess.run(
        [tool("flwr"), *arguments, "--format", "json"],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout[max(done.stdout.find("{"), 0) :])
    except json.JSONDecodeError:
        answer = {"success": False, "error-message": (done.stdout + done.stderr).strip()}
    if done.returncode or not answer.get("success", False):
        words = str(answer.get("error-message", done.stderr)).strip()
        raise CredentialError(f"`flwr {' '.join(arguments)}` failed: {words}")
    return answer


def _said(files: Sequence[Path]) -> None:
    for file in files:
        typer.echo(f"made {file}")


if __name__ == "__main__":
    app()
