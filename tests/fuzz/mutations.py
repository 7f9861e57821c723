"""Mutations that every target shares: of bytes, of texts, of single values and of JSON documents.

A mutation is a value of a hypothesis strategy, so that a failure is shrunk to its smallest one and can be
pasted into a test of its own.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

CONTROLS = "\x00\x07\x08\t\n\r\x1b[2J\x7f\x85\u202e\u2028\ufeff"
INTERESTING_BYTES = (0, 1, 0x20, 0x7F, 0x80, 0xFE, 0xFF)
INTERESTING_INTEGERS = (
    *(0, 1, 2, 3, -1, 255, 2**15, 2**16, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1),
    *(2**63 - 1, -(2**63), 2**63, 2**64),
)
LARGE_EXPONENTS = (19, 30, 309, 400, 5000)  # of ten: beyond 64 bits, float64, and what Python prints
INTERESTING_FLOATS = (
    *(0.0, -0.0, 0.5, 1.0, 2.0, -1.0, 1e-320, 1e-30, 1e30, 1e308),
    *(float("inf"), float("-inf"), float("nan")),
)


def texts(most: int = 60) -> st.SearchStrategy[str]:
    """Texts with control characters, other scripts, other people's words, and a few that are long."""
    return st.one_of(
        st.text(max_size=most),
        st.text(alphabet=CONTROLS + "ab ", max_size=most),
        st.sampled_from(
            ["", " ", "../../etc/passwd", "/etc/passwd", "nan", "1e400", "a" * 5000, "\x1b[2J" * 200]
        ),
        st.text(alphabet=st.characters(categories=["Cs"]), min_size=1, max_size=3),  # half a character
    )


large_integers = st.builds(
    lambda exponent, sign: sign * 10**exponent, st.sampled_from(LARGE_EXPONENTS), st.sampled_from([1, -1])
)
integers = st.one_of(st.sampled_from(INTERESTING_INTEGERS), large_integers, st.integers(-(2**70), 2**70))
floats = st.one_of(st.sampled_from(INTERESTING_FLOATS), st.floats())
scalars = st.one_of(integers, floats, texts(), st.binary(max_size=40), st.booleans())


def lists_of_one_kind() -> st.SearchStrategy[list[Any]]:
    """Lists as records may hold them."""
    kinds = (st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=9), st.binary(max_size=9))
    return st.one_of([st.lists(kind, max_size=5) for kind in kinds])


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), integers.filter(lambda x: abs(x) < 10**4000), floats, texts()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)

Bytes = Callable[[bytes], bytes]


@st.composite
def byte_mutations(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """`content` with one to `most` changes: bits and bytes, what is cut, doubled, put in or swapped."""
    mutated = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        mutated = bytearray(draw(_once(bytes(mutated))))
    return bytes(mutated)


@st.composite
def _once(draw: st.DrawFn, content: bytes) -> bytes:
    at = draw(_places(len(content)))
    kind = draw(
        st.sampled_from(["bit", "byte", "cut", "extend", "remove", "insert", "double", "zero", "word"])
    )
    if kind == "bit" and content:
        at = min(at, len(content) - 1)
        return content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
    if kind == "byte":
        return content[:at] + bytes([draw(st.sampled_from(INTERESTING_BYTES))]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "extend":
        return content + draw(st.binary(min_size=1, max_size=40))
    length = draw(st.integers(1, 16))
    if kind == "remove":
        return content[:at] + content[at + length :]
    if kind == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=16)) + content[at:]
    if kind == "double":
        return content[: at + length] + content[at : at + length] + content[at + length :]
    if kind == "zero":
        return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]
    words = st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(content), len(content) * 2])
    word = draw(words).to_bytes(4, draw(st.sampled_from(["little", "big"])))
    return content[:at] + word + content[at + 4 :]


def _places(length: int) -> st.SearchStrategy[int]:
    """Anywhere, and more often in the head or at the end, where lengths and marks stand."""
    return st.one_of(
        st.integers(0, max(0, length - 1)),
        st.integers(0, min(64, max(0, length - 1))),
        st.integers(max(0, length - 12), length),
    )


@st.composite
def json_mutations(draw: st.DrawFn, document: Any, most: int = 2) -> Any:
    """A JSON document with one to `most` values, keys or elements replaced, left out, renamed or added."""
    for _ in range(draw(st.integers(1, most))):
        document = draw(_changed(document))
    return document


@st.composite
def _changed(draw: st.DrawFn, node: Any) -> Any:
    """Go down to a random place, and change what is there."""
    if isinstance(node, dict) and node and draw(st.integers(0, 9)) < 9:
        key = draw(st.sampled_from(sorted(node)))
        kind = draw(st.sampled_from(["into", "into", "into", "drop", "rename", "add"]))
        rest = {name: value for name, value in node.items() if name != key}
        if kind == "into":
            return {**node, key: draw(_changed(node[key]))}
        if kind == "drop":
            return rest
        if kind == "rename":
            return {**rest, draw(texts(12)): node[key]}
        return {**node, draw(texts(12)): draw(json_values)}
    if isinstance(node, list) and node and draw(st.integers(0, 9)) < 7:
        at = draw(st.integers(0, len(node) - 1))
        kind = draw(st.sampled_from(["into", "drop", "double"]))
        middle = {"into": lambda: [draw(_changed(node[at]))], "drop": list, "double": lambda: [node[at]] * 2}
        return [*node[:at], *middle[kind](), *node[at + 1 :]]
    if isinstance(node, bool) or node is None:
        return draw(json_values)
    if isinstance(node, int | float):
        half = node // 2 if isinstance(node, int) else node / 2
        near = st.sampled_from([node + 1, node - 1, -node, node * 2, half])
        return draw(st.one_of(near, near, json_values))
    if isinstance(node, str):
        return draw(st.one_of(st.sampled_from([node + "x", node[:-1], node.upper()]), json_values))
    return draw(json_values)
