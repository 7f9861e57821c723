"""The tokenisers of pre-trained models' folders, by the two kinds of target: of CTC, and of a decoder.

Both are functions of their text alone (`speech.pretrained.library_parts`).
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from speech.errors import ModelError
from speech.pretrained.folder import ModelFolder
from speech.pretrained.library_parts import library_tokeniser
from speech.pretrained.words import word_groups
from speech.text import Alphabet


class LibraryTokeniser:
    """The tokeniser of a CTC model's folder: a text to the indices of its head, and back.

    Example:
        >>> from pathlib import Path
        >>> tokeniser = LibraryTokeniser(ModelFolder(Path("wav2vec2-base")), blank=0)  # doctest: +SKIP
        >>> tokeniser.decode([0, 8, 8, 0, 10])  # doctest: +SKIP
        'hi'
    """

    def __init__(self, folder: ModelFolder, blank: int) -> None:
        self._tokenizer: Any = library_tokeniser(folder)
        self.blank = blank
        known = self._tokenizer.get_vocab()
        self._upper = "A" in known and "a" not in known
        delimiter = getattr(self._tokenizer, "word_delimiter_token", None)
        self.space: int | None = known.get(delimiter, known.get(" "))

    def encode(self, text: str) -> list[int]:
        """Return the indices of a text. Characters that the model does not know are left out."""
        ids = self._tokenizer(text.upper() if self._upper else text, add_special_tokens=False).input_ids
        return [one for one in ids if one not in (self.blank, self._tokenizer.unk_token_id)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of one index a frame: runs are one symbol, blanks none."""
        return self._text(self.collapse(ids))

    def collapse(self, ids: Sequence[int]) -> list[int]:
        """Return the symbols of one index a frame, without blanks."""
        return [one for one, _ in groupby(ids) if one != self.blank]

    def words(self, symbols: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Return the words of symbols, each with the positions of its own."""
        groups = word_groups(self._tokenizer, symbols)
        return [(self._text([symbols[one] for one in group]), group) for group in groups]

    def columns(self, alphabet: Alphabet) -> list[int | None]:
        """Return the index of each character of an alphabet, and of the blank; None for one that it lacks.

        Raises:
            ModelError: If the symbols are pieces of words, not characters.
        """
        known = self._tokenizer.get_vocab()
        if self.space is None or not {"a", "A"} & set(known) or any(len(one) > 1 for one in self._ordinary):
            raise ModelError(
                "--beam and --lm: the symbols of this model are pieces of words, not characters, and beam "
                "search spells characters; leave both out."
            )
        spelled = (c.upper() if self._upper else c for c in alphabet.characters)
        return [self.space if c == " " else known.get(c) for c in spelled] + [self.blank]

    @property
    def _ordinary(self) -> list[str]:
        """The symbols that are no special tokens."""
        special = {*self._tokenizer.all_special_ids, self.blank, self.space}
        return [piece for piece, index in self._tokenizer.get_vocab().items() if index not in special]

    def _text(self, symbols: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(symbols, skip_special_tokens=True, group_tokens=False)
        return " ".join((text.lower() if self._upper else text).split())

    @property
    def symbols(self) -> list[str]:
        """The symbol of each index."""
        known = {index: symbol for symbol, index in self._tokenizer.get_vocab().items()}
        return [known.get(index, "") for index in range(max(known) + 1)]


class TargetTokeniser:
    """The tokeniser of a folder: a text to what the decoder shall write, its end included, and back.

    A text follows a space, as words do in the model's own training.

    Example:
        >>> from pathlib import Path
        >>> TargetTokeniser(ModelFolder(Path("whisper-tiny.en"))).encode("hello there")  # doctest: +SKIP
        [50362, 23748, 612, 50256]
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._tokenizer: Any = library_tokeniser(folder)

    def encode(self, text: str) -> list[int]:
        """Return the targets of a text: the prompt without its first token, the text, the end."""
        ids: list[int] = self._tokenizer(f" {text}").input_ids
        return ids[1:] if len(ids) > 1 and ids[0] == self.first else ids

    @cached_property
    def first(self) -> int | None:
        """The token that every sequence of the tokeniser begins with; the decoder gets it for nothing."""
        one, other = (self._tokenizer(text).input_ids for text in (" a", " the"))
        return one[0] if one and other and one[0] == other[0] else None

    @cached_property
    def end(self) -> int:
        """The token that ends every sequence."""
        return self.encode("a")[-1]

    @cached_property
    def prompt(self) -> list[int]:
        """What the targets of every text begin with."""
        one, other = self.encode("a"), self.encode("zoo")
        same = [a == b for a, b in zip(one, other, strict=False)]
        return one[: same.index(False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of targets."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return " ".join(text.split())

    def sounds(self, token: int) -> bool:
        """Whether a token has a letter or a digit, or a part of one."""
        return any(one.isalnum() or one == "\ufffd" for one in self.decode([token]))

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """Return the positions in `ids` of the tokens of each word."""
        return word_groups(self._tokenizer, ids)
