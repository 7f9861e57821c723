"""`murmur deploy digest, release-key, sign, approve`: which release a node runs, said by its owner.

Guarantee: the private release key has mode 0600 from its first byte and is never printed; `approve` only
adds to a list, and says what it added.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from base.release import release
from cli.approval.approvals import (
    DIGEST,
    HEX_DIGEST,
    KEY,
    KEY_BYTES,
    SIGNATURE_BYTES,
    NotApproved,
    approval_line,
    approve,
    decoded,
    digest_of,
    make_release_key,
    sign,
)
from cli.deploy.credentials import CredentialError, write_pair

MOST_BUNDLE_BYTES = 10 << 20  # Flower takes no larger one
LIST = "approved"

Bundle = Annotated[
    Path | None, typer.Argument(help="A bundle (`flwr build`); without one, what this installation submits.")
]
Approved = Annotated[Path, typer.Option("--list", "-l", help="The node's list of approvals.")]


def own_bundle() -> bytes:
    """The bundle that `murmur deploy run` submits, byte for byte; the same on every machine."""
    from flwr.cli.build import build_fab_from_disk

    from cli.composing import staged_app

    with TemporaryDirectory() as folder:
        bundle: bytes = build_fab_from_disk(staged_app(Path(folder)))
    return bundle


def show_digest(bundle: Bundle = None) -> None:
    """Print the SHA-256 of a bundle, to compare it with one that was published or that a node approved."""
    typer.echo(f"{DIGEST} {digest_of(_bundle(bundle))}  {_name(bundle)}")


def release_key(
    name: Annotated[str, typer.Argument(help="<name>.key signs releases, <name>.pub is approved by nodes.")],
    folder: Annotated[Path, typer.Option("--folder", "-d", help="Where they are made.")] = Path("."),
) -> None:
    """Make a key that signs releases (Ed25519): a node that approves it runs every release it signed."""
    private, line = make_release_key()
    for file in write_pair(folder, name, ".pub", line.encode(), private):
        typer.echo(f"made {file}")


def sign_release(
    key: Annotated[Path, typer.Option(help="The private release key.")],
    bundle: Bundle = None,
    out: Annotated[Path | None, typer.Option(help="Where the signature goes; else it is printed.")] = None,
) -> None:
    """Sign a release: `murmur deploy run --signature FILE` sends the signature to the nodes."""
    try:
        signature = sign(key.read_bytes(), digest_of(_bundle(bundle)))
    except OSError as error:
        raise CredentialError(
            f"--key {key} cannot be read ({error.strerror}): `murmur deploy release-key NAME` makes one"
        ) from None
    except (ValueError, TypeError):
        raise CredentialError(
            f"--key {key} is no release key: `murmur deploy release-key NAME` makes one"
        ) from None
    if out is None:
        typer.echo(signature)
        return
    out.write_text(signature + "\n", encoding="utf-8")
    typer.echo(f"made {out}")


def read_signature(path: Path) -> str:
    """What `sign_release` wrote. Raises `CredentialError` if it is no signature."""
    try:
        signature = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        signature = ""
    if decoded(signature, SIGNATURE_BYTES) is None:
        raise CredentialError(
            f"--signature {path} is no signature: `murmur deploy sign --out FILE` makes one"
        )
    return signature


def approve_releases(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="Bundles, their 64 digits, <name>.pub of release keys; else this installation's release."
        ),
    ] = None,
    approvals: Approved = Path(LIST),
    only: Annotated[bool, typer.Option("--only", help="Withdraw whatever else the list names.")] = False,
) -> None:
    """Let this node run a release: from now on the list names it. To withdraw it, take its line out.

    After an update, `--only` withdraws the releases before it, with the faults that they had. The node's
    ClientApp must be able to read the list, and not to write it.
    """
    lines = [_line(given) for given in what] if what else [_digest_line(own_bundle(), _name(None))]
    try:
        added = approve(approvals, lines, only=only)
    except NotApproved as error:
        raise CredentialError(str(error)) from None
    for line in lines:
        typer.echo(f"{approvals}: {line.strip()}{'' if line in added else ' (was there)'}")


def _line(given: str) -> str:
    """The line of the list for what a person named."""
    digest = given.removeprefix(f"{DIGEST}:").lower()
    if HEX_DIGEST.fullmatch(digest):
        return approval_line(DIGEST, digest, "by its digest")
    path = Path(given)
    try:
        content = path.read_bytes() if path.stat().st_size <= MOST_BUNDLE_BYTES else b""
    except OSError as error:
        raise CredentialError(
            f"{given!r} is no digest (64 hexadecimal digits) nor a file that can be read ({error.strerror}); "
            "give one, a bundle (.fab) or a release key's .pub"
        ) from None
    if b"PRIVATE KEY" in content:
        raise CredentialError(f"{given} is a private key: approve the .pub beside it")
    words = content[:200].split()
    if (
        len(words) > 1
        and words[0] == KEY.encode()
        and decoded(words[1].decode("ascii", "replace"), KEY_BYTES)
    ):
        return approval_line(KEY, words[1].decode(), path.stem)
    if content[:2] != b"PK":
        raise CredentialError(
            f"{given} is neither a bundle (a .fab of at most {MOST_BUNDLE_BYTES:,} bytes, from `flwr build`) "
            "nor a release key's .pub"
        )
    return _digest_line(content, path.name)


def _digest_line(bundle: bytes, name: str) -> str:
    return approval_line(DIGEST, digest_of(bundle), name)


def _bundle(path: Path | None) -> bytes:
    if path is None:
        return own_bundle()
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialError(
            f"{path} cannot be read ({error.strerror}): `flwr build` makes a bundle"
        ) from None


def _name(path: Path | None) -> str:
    if path:
        return path.name
    return f"murmuration {release()}"
