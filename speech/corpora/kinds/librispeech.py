"""Kind "librispeech": LibriSpeech in its own layout (Panayotov et al. 2015, openslr.org/12).

`subset/speaker/chapter/` has FLAC files and one `*.trans.txt`. The path is the LibriSpeech folder, or one
subset in it. The first word of a subset's name is its split: train-clean-100 and train-other-500 are "train",
dev-* is "dev", test-* is "test". `load_parts` takes any subsets, or unions of them, for each split.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from speech.corpora.builder import CorpusBuilder
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.tables import lines
from speech.errors import CorpusError

SPLITS = ("train", "dev", "test")
SUBSETS = (
    *("train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean", "dev-other", "test-clean", "test-other"),
)
# The paper's names (arXiv 2310.00098, Table 2).
UNIONS = {
    "LS-100": ("train-clean-100",),
    "LS-360": ("train-clean-360",),
    "LS-500": ("train-other-500",),
    "LS-860": ("train-clean-360", "train-other-500"),
    "LS-960": ("train-clean-100", "train-clean-360", "train-other-500"),
}


def load(path: str, rules: Rules) -> Corpus:
    """Load every subset at `path`.

    Raises:
        CorpusError: If there is none.
    """
    if not path:
        raise CorpusError("a corpus of kind 'librispeech' needs a path: the LibriSpeech folder.")
    root = Path(path)
    return _load(root, [(_split(subset), subset) for subset in _subsets(root)], rules)


def load_parts(path: str | Path, parts: Mapping[str, str], rules: Rules) -> Corpus:
    """Load splits from their parts: {"seed": "LS-100", "train": "LS-860", "dev": "dev-clean"}.

    Raises:
        CorpusError: For a part that is no subset and no union, a subset that is missing, or one that would be
            in
            two splits.
    """
    root = Path(path)
    chosen: dict[str, str] = {}
    for split, part in parts.items():
        for subset in subsets_of(part):
            if subset in chosen:
                raise CorpusError(f"{subset} would be in {chosen[subset]!r} and in {split!r}: take it once.")
            if not (root / subset).is_dir():
                raise CorpusError(f"{root}: has no {subset}; `murmur corpus download librispeech` gets it.")
            chosen[subset] = split
    return _load(root, [(split, root / subset) for subset, split in chosen.items()], rules)


def subsets_of(part: str) -> tuple[str, ...]:
    """Return the subsets of a union, or the one of that name.

    Raises:
        CorpusError: If the name is neither.
    """
    if part not in UNIONS and part not in SUBSETS:
        known = ", ".join((*UNIONS, *SUBSETS))
        raise CorpusError(f"{part!r} is no part of LibriSpeech; known are {known}.")
    return UNIONS.get(part, (part,))


def _load(root: Path, subsets: list[tuple[str, Path]], rules: Rules) -> Corpus:
    builder = CorpusBuilder(name=f"librispeech {root}", rules=rules)
    for split, subset in subsets:
        for transcripts in sorted(subset.glob("*/*/*.trans.txt")):
            _add_chapter(builder, split, transcripts)
    return builder.corpus()


def _split(folder: Path) -> str:
    """Return the split of a folder by its name; "" for a folder that is no subset."""
    first = folder.resolve().name.split("-")[0]
    return first if first in SPLITS and folder.is_dir() else ""


def _subsets(root: Path) -> list[Path]:
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder; give the LibriSpeech folder or a subset of it.")
    found = [root] if _split(root) else [child for child in sorted(root.iterdir()) if _split(child)]
    if not found:
        raise CorpusError(
            f"{root}: holds no subset (a folder named train-*, dev-* or test-*); "
            "give the LibriSpeech folder or a subset of it."
        )
    return found


def _add_chapter(builder: CorpusBuilder, split: str, transcripts: Path) -> None:
    speaker = transcripts.parent.parent.name
    for source, id, text in _transcripts(transcripts):
        audio = transcripts.parent / f"{id}.flac"
        builder.add_file(id=id, speaker=speaker, split=split, audio=audio, text=text, source=source)


def _transcripts(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (place, utterance id, text) of each line."""
    for place, line in lines(file):
        id, _, text = line.strip().partition(" ")
        yield place, id, text
