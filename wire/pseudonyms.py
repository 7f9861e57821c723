"""Pseudonyms of speakers: the server detects one person on two nodes without learning who it is.

A token is HMAC-SHA256 of a speaker's id under a key, cut to 16 bytes. Nodes with the same speakers share the
key. The key is the `speaker-namespace` on which the holders of the data have agreed; within it, an id means
one person on every node. Without a namespace the key is a digest of the corpus, because ids such as "1" mean
nothing outside it.

Guarantee: without the key, a token reveals only that an equal token stands for the same id. The server learns
neither key: the corpus's key is another digest than the one that names the data set.

Example:
    >>> key = key_of("hospitals of the north", corpus_secret="")
    >>> tokens_of(key, ["ann"]) == tokens_of(key, ["ann"]), tokens_of(key, ["ann"]) == tokens_of(key, ["bob"])
    (True, False)
"""

import hmac
import unicodedata
from collections.abc import Iterable

TOKEN_BYTES = 16
_HASH = "sha256"


def key_of(namespace: str, corpus_secret: str) -> bytes:
    """The key of a namespace; without a namespace, the key of a corpus (from its `speaker_key`)."""
    return (
        _bytes(f"namespace:{namespace.strip()}") if namespace.strip() else _bytes(f"corpus:{corpus_secret}")
    )


def fingerprint(key: bytes) -> str:
    """The fingerprint of a key (hex). Only tokens with the same fingerprint can be compared."""
    return hmac.digest(key, b"fingerprint", _HASH)[:TOKEN_BYTES].hex()


def tokens_of(key: bytes, speakers: Iterable[str]) -> bytes:
    """The tokens of `speakers`, one after the other, `TOKEN_BYTES` bytes each."""
    return b"".join(hmac.digest(key, b"speaker:" + _bytes(name), _HASH)[:TOKEN_BYTES] for name in speakers)


def _bytes(text: str) -> bytes:
    """Equal texts become equal bytes, in whichever Unicode form a machine wrote them."""
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def split_tokens(tokens: bytes) -> list[bytes]:
    """The single tokens."""
    return [tokens[begin : begin + TOKEN_BYTES] for begin in range(0, len(tokens), TOKEN_BYTES)]
