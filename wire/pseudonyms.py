"""Pseudonyms of speakers: how a server sees that one person is on two nodes, without being told who it is.

A token is HMAC-SHA256 of a speaker's id under a key that nodes which know the same people share, cut to 16
bytes. The key is the `speaker-namespace` that the holders of the speech have agreed on, within which an id
means one person wherever it stands; or, without one, a digest of the corpus itself, since ids such as "1"
mean nothing outside it.

Guarantee: without the key a token tells no more than that it stands for the same id as an equal one. The
server learns neither key: the corpus's is another digest than the one that names the data set.
"""

import hmac
import unicodedata
from collections.abc import Iterable

TOKEN_BYTES = 16
_HASH = "sha256"


def key_of(namespace: str, corpus_secret: str) -> bytes:
    """The key of a namespace, or of a corpus (its `speaker_key`) where there is none."""
    return (
        _bytes(f"namespace:{namespace.strip()}") if namespace.strip() else _bytes(f"corpus:{corpus_secret}")
    )


def fingerprint(key: bytes) -> str:
    """What tokens of one key have in common (hex): only such tokens can be compared."""
    return hmac.digest(key, b"fingerprint", _HASH)[:TOKEN_BYTES].hex()


def tokens_of(key: bytes, speakers: Iterable[str]) -> bytes:
    """The tokens of `speakers`, one after the other, `TOKEN_BYTES` bytes each."""
    return b"".join(hmac.digest(key, b"speaker:" + _bytes(name), _HASH)[:TOKEN_BYTES] for name in speakers)


def _bytes(text: str) -> bytes:
    """One text is one key or id, whichever of Unicode's forms the machine that wrote it prefers."""
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def split_tokens(tokens: bytes) -> list[bytes]:
    """The single tokens."""
    return [tokens[begin : begin + TOKEN_BYTES] for begin in range(0, len(tokens), TOKEN_BYTES)]
