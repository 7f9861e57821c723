"""Kind "commonvoice": Mozilla Common Voice as it comes (v13 and later): `train.tsv`, `dev.tsv`, `test.tsv`
beside `clips/*.mp3` (Ardila et al. 2020). A speaker is a `client_id`.

The path is a language's folder, whose three official splits are loaded, or one of its TSV files, which
then is the split of its name: `validated.tsv` has the speech of all three and more. Fields are parted
by tabs and nothing is quoted: a quotation mark is text. `clip_durations.tsv` is used where there is one;
otherwise every clip is opened for its length.
"""

from collections.abc import Iterator
from pathlib import Path

from speech.audio import audio_duration_seconds
from speech.corpora.builder import Selection
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.tables import lines
from speech.errors import AudioError, CorpusError

SPLITS = ("train", "dev", "test")
COLUMNS = ("client_id", "path", "sentence")
DURATION_COLUMNS = ("clip", "duration[ms]")


def load(path: str, rules: Rules) -> Corpus:
    """Load the official splits, or one TSV file.

    Raises `CorpusError` for a folder without them, a table without our columns, or another language.
    """
    if not path:
        raise CorpusError("a corpus of kind 'commonvoice' needs a path: the folder of a language.")
    tables = _tables(Path(path))
    clips = tables[0].parent / "clips"
    durations = _durations(tables[0].parent / "clip_durations.tsv")
    selection = Selection(name=f"commonvoice {path}", rules=rules)
    for table in tables:
        for place, row in _rows(selection, table, COLUMNS):
            _require_language(place, row, rules)
            _add(selection, table.stem, clips / row["path"], durations, place, row)
    return selection.corpus()


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = [root / f"{split}.tsv" for split in SPLITS if (root / f"{split}.tsv").is_file()]
    if not found:
        raise CorpusError(
            f"{root}: holds no train.tsv, dev.tsv or test.tsv; give the folder of one language, such as "
            "cv-corpus-13.0-2023-03-09/de."
        )
    return found


def _rows(
    selection: Selection | None, table: Path, needed: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows by the names of the header; one of another length is skipped, for want of its meaning."""
    header: list[str] = []
    for place, line in lines(table):
        fields = line.split("\t")
        if not header:
            header = fields
            missing = [name for name in needed if name not in header]
            if missing:
                raise CorpusError(
                    f"{place}: has no column {missing[0]!r}; a Common Voice table has {needed}, "
                    "parted by tabs."
                )
        elif len(fields) == len(header):
            yield place, dict(zip(header, fields, strict=True))
        elif selection is not None:
            selection.skip(
                source=place, reason=f"has {len(fields)} fields and not {len(header)}", split=table.stem
            )


def _durations(file: Path) -> dict[str, float]:
    """Seconds by the name of the clip, as far as they are known."""
    if not file.is_file():
        return {}
    found = {}
    for place, row in _rows(None, file, DURATION_COLUMNS):
        try:
            found[row["clip"]] = float(row["duration[ms]"]) / 1000
        except ValueError:
            raise CorpusError(f"{place}: {row['duration[ms]']!r} is no number of milliseconds.") from None
    return found


def _require_language(place: str, row: dict[str, str], rules: Rules) -> None:
    locale = row.get("locale", "")
    if locale and locale.split("-")[0] != rules.language:
        raise CorpusError(
            f"{place}: is of locale {locale!r}, and language {rules.language!r} was asked for; "
            "change the language, or give the folder of that language."
        )


def _add(
    selection: Selection,
    split: str,
    audio: Path,
    durations: dict[str, float],
    place: str,
    row: dict[str, str],
) -> None:
    speaker = row["client_id"]
    if not speaker or not row["path"]:
        selection.skip(source=place, reason="has no client_id or no path", split=split, speaker=speaker)
        return
    try:
        duration = durations.get(audio.name) or audio_duration_seconds(audio)
    except AudioError as error:
        selection.skip(source=place, reason=str(error), split=split, speaker=speaker)
        return
    selection.add(
        id=row["path"],
        speaker=speaker,
        split=split,
        audio=audio,
        text=row["sentence"],
        source=place,
        duration_seconds=duration,
    )
