"""Which tokens of a tokeniser make a word."""

from collections.abc import Sequence
from typing import Any

_BEGINNINGS = ("\u0120", "\u2581")  # how byte-level and SentencePiece tokenisers write a space before a word


def word_groups(tokenizer: Any, ids: Sequence[int]) -> list[list[int]]:
    """Return the positions in `ids` of the tokens of each word; special tokens and spaces are in none.

    A tokeniser of `transformers` marks a word by a space at its beginning, or has a token between words.
    """
    between = {" ", getattr(tokenizer, "word_delimiter_token", None)}
    special = set(tokenizer.all_special_ids)
    groups: list[list[int]] = []
    begins = True
    for position, piece in enumerate(tokenizer.convert_ids_to_tokens(list(ids))):
        if piece in between:
            begins = True
        elif ids[position] not in special:
            if begins or piece.startswith(_BEGINNINGS):
                groups.append([])
            groups[-1].append(position)
            begins = False
    return [group for group in groups if tokenizer.decode([ids[one] for one in group]).strip()]
