"""Which releases a node runs: those that its owner approved, by their digest or by a release key.

The code of a node comes from the server with every run, as a Flower app bundle. Whoever controls the server
could send another, which reads the speech; so the node looks at the bundle before it unpacks anything
(`cli.approval.approved_app`), and at a list that only its owner writes:

    sha256 9f2c...  murmuration 0.9.0          one bundle, by the SHA-256 of its bytes
    ed25519 MCowBQ...  releases of example.org  every bundle that this key signed

A bundle is the same on every machine that builds the same release (`murmur deploy digest`), so its digest can
be compared with one that was published elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DIGEST, KEY = "sha256", "ed25519"
SIGNED_WORDS = b"murmuration release, sha256 "
HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
KEY_BYTES = 32
SIGNATURE_BYTES = 64
MOST_BYTES = 1 << 20
REMEDY = "`murmur deploy approve` on the node writes it"


class NotApproved(RuntimeError):
    """A bundle that this node's owner did not approve, or a list of approvals that cannot be read."""


def digest_of(bundle: bytes) -> str:
    """SHA-256 of a bundle's bytes, in lower-case hexadecimal."""
    return hashlib.sha256(bundle).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Approvals:
    """What a list says: digests of bundles, and Ed25519 public keys (32 bytes) whose releases a node runs."""

    digests: frozenset[str] = frozenset()
    keys: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Approvals:
        """From the node's list.

        Raises:
            NotApproved: If it cannot be read, others than its owner may write it, or a line is neither a
                digest nor a key. Nothing runs then: a line that was meant to withdraw an approval must not be
                passed over.
        """
        try:
            with path.open(encoding="utf-8") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise NotApproved(f"{path} cannot be read ({error.strerror}): {REMEDY}") from None
        except UnicodeDecodeError:
            raise NotApproved(f"{path} is no text: {REMEDY}") from None
        if mode & 0o022:
            raise NotApproved(
                f"{path} can be written by others than its owner: chmod 644, and look through it"
            )
        if len(text) > MOST_BYTES:
            raise NotApproved(f"{path} has more than {MOST_BYTES:,} characters: {REMEDY}")
        digests, keys = [], []
        for number, line in enumerate(text.split("\n"), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words) >= 2 and words[0] == DIGEST and HEX_DIGEST.fullmatch(words[1]):
                digests.append(words[1])
            elif len(words) >= 2 and words[0] == KEY and (key := decoded(words[1], KEY_BYTES)):
                keys.append(key)
            else:
                raise NotApproved(
                    f"{path}, line {number}: {line[:80]!r} is neither '{DIGEST} <64 hexadecimal digits>' nor "
                    f"'{KEY} <base64 of {KEY_BYTES} bytes>': {REMEDY}"
                )
        return cls(digests=frozenset(digests), keys=tuple(keys))

    def require(self, bundle: bytes, signature: str = "") -> str:
        """The digest of `bundle`, if it is approved itself, or `signature` over it is of an approved key.

        Raises:
            NotApproved: With both sides' digests.
        """
        digest = digest_of(bundle)
        if digest in self.digests or self.signed(digest, signature):
            return digest
        raise NotApproved(
            f"this node runs only what its owner approved, and the server sent {DIGEST} {digest}; approved: "
            f"{self}. If this release is meant, the node's owner approves it: `murmur deploy approve`"
        )

    def signed(self, digest: str, signature: str) -> bool:
        """Whether an approved key made this signature (base64) of the digest."""
        given = decoded(signature, SIGNATURE_BYTES)
        return given is not None and any(_is_signature(key, given, digest) for key in self.keys)

    def __str__(self) -> str:
        said = [f"{DIGEST} {digest}" for digest in sorted(self.digests)]
        said += [f"what {KEY} {base64.b64encode(key).decode()} signed" for key in self.keys]
        return "; ".join(said) or "nothing"


def approval_line(kind: str, what: str, note: str) -> str:
    """A line of the list; `note` is for readers."""
    shown = "".join(one for one in note if one.isprintable() and one != "#")
    return f"{kind} {what}  {shown}".rstrip() + "\n"


def approve(path: Path, lines: Sequence[str], *, only: bool = False) -> list[str]:
    """Add the lines that the list does not have; returns those that were added.

    With `only`, it has no others from then on.

    Raises:
        NotApproved: If the list that is there cannot be read, or no list can be written there.
    """
    there = Approvals.read(path) if path.exists() else Approvals()
    keys = {base64.b64encode(key).decode() for key in there.keys}
    known = {(DIGEST, digest) for digest in there.digests} | {(KEY, key) for key in keys}
    new = [line for line in lines if tuple(line.split()[:2]) not in known]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if only:
            _replace(path, "".join(lines))
            return new
        ends = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        os.fchmod(handle, os.fstat(handle).st_mode & ~0o022)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(("" if ends else "\n") + "".join(new))
    except OSError as error:
        raise NotApproved(
            f"{path} cannot be written ({error.strerror}): let this user write it, or give another --list"
        ) from None
    return new


def _replace(path: Path, text: str) -> None:
    """Write a list in place of the one that is there, which a task that starts meanwhile reads in full."""
    handle, beside = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    os.replace(beside, path)


# --- Release keys -----------------------------------------------------------------------------------


def make_release_key() -> tuple[bytes, str]:
    """A private key (PKCS 8, PEM), and the line that approves what it will sign."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes_raw()
    return pem, approval_line(KEY, base64.b64encode(public).decode(), "releases signed by this key")


def sign(private_pem: bytes, digest: str) -> str:
    """The signature (base64, Ed25519) that says: this is a release.

    Raises:
        ValueError: If the key is no Ed25519 private key.
    """
    key = serialization.load_pem_private_key(private_pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    return base64.b64encode(key.sign(SIGNED_WORDS + digest.encode())).decode()


def _is_signature(key: bytes, signature: bytes, digest: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, SIGNED_WORDS + digest.encode())
    except InvalidSignature:
        return False
    return True


def decoded(text: str, length: int) -> bytes | None:
    """So many bytes out of base64, or None."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == length else None
