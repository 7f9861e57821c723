"""Kind "librispeech": LibriSpeech's own layout, `subset/speaker/chapter/` with FLAC files and one
`*.trans.txt` per chapter (Panayotov et al. 2015, openslr.org/12).

The path is the LibriSpeech folder, or one subset in it. Splits are the first word of a subset's
name: train-clean-100 and train-other-500 are both "train", dev-* is "dev", test-* is "test".
"""

from collections.abc import Iterator
from pathlib import Path

from speech.audio import audio_duration_seconds
from speech.corpora.selection import Selection
from speech.corpus import Corpus, Rules, corpus_kind
from speech.errors import AudioError, CorpusError

SPLITS = ("train", "dev", "test")


@corpus_kind("librispeech")
def load(path: str, rules: Rules) -> Corpus:
    """Load every subset found at `path`. Raises `CorpusError` where none is."""
    if not path:
        raise CorpusError("a corpus of kind 'librispeech' needs a path: the LibriSpeech folder.")
    root = Path(path)
    subsets = _subsets(root)
    selection = Selection(name=f"librispeech {root}", rules=rules)
    for subset in subsets:
        for transcripts in sorted(subset.glob("*/*/*.trans.txt")):
            _add_chapter(selection, _split(subset), transcripts)
    return selection.corpus()


def _split(folder: Path) -> str:
    """The split that a folder's name stands for, "" for a folder that is no subset."""
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


def _add_chapter(selection: Selection, split: str, transcripts: Path) -> None:
    speaker = transcripts.parent.parent.name
    for source, id, text in _transcripts(transcripts):
        audio = transcripts.parent / f"{id}.flac"
        try:
            duration = audio_duration_seconds(audio)
        except AudioError as error:
            selection.skip(source=source, reason=str(error), split=split, speaker=speaker)
            continue
        selection.add(
            id=id,
            speaker=speaker,
            split=split,
            audio=audio,
            text=text,
            source=source,
            duration_seconds=duration,
        )


def _transcripts(file: Path) -> Iterator[tuple[str, str, str]]:
    """(place, utterance id, text) of each line."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{file}: cannot be read as UTF-8 text ({error}).") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            id, _, text = line.strip().partition(" ")
            yield f"{file}:{number}", id, text
