"""Kind "commonvoice": Mozilla Common Voice (v13 and later) in its own layout (Ardila et al. 2020).

`train.tsv`, `dev.tsv` and `test.tsv` are beside `clips/*.mp3`. A speaker is a `client_id`. The path is the
folder of a language, whose three official splits are loaded, or one of its TSV files, which is then the split
of its name: `validated.tsv` has the speech of all three, and more. Fields are separated by tabs, and nothing
is quoted: a quotation mark is text. `clip_durations.tsv` gives the lengths where it exists; otherwise every
clip is opened. Other columns, such as `accents`, are fields of the utterance.
"""

from collections.abc import Iterator
from pathlib import Path

from speech.corpora.builder import CorpusBuilder
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.tables import lines
from speech.errors import AudioError, CorpusError
from speech.sound_files import audio_duration_seconds

SPLITS = ("train", "dev", "test")
COLUMNS = ("client_id", "path", "sentence")
_OWN_COLUMNS = frozenset({*COLUMNS, "locale"})
DURATION_COLUMNS = ("clip", "duration[ms]")


def load(path: str, rules: Rules) -> Corpus:
    """Load the official splits, or one TSV file.

    Raises:
        CorpusError: For a folder without them, a table without our columns, or another language.
    """
    if not path:
        raise CorpusError("a corpus of kind 'commonvoice' needs a path: the folder of a language.")
    tables = _tables(Path(path))
    clips = tables[0].parent / "clips"
    durations = _durations(tables[0].parent / "clip_durations.tsv")
    builder = CorpusBuilder(name=f"commonvoice {path}", rules=rules)
    for table in tables:
        for place, row in _rows(builder, table, COLUMNS):
            _require_language(place, row, rules)
            _add(builder, table.stem, clips / row["path"], durations, place, row)
    return builder.corpus()


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = [root / f"{split}.tsv" for split in SPLITS if (root / f"{split}.tsv").is_file()]
    if not found:
        raise CorpusError(
            f"{root}: has no train.tsv, dev.tsv or test.tsv; give the folder of one language, such as "
            "cv-corpus-13.0-2023-03-09/de."
        )
    return found


def _rows(
    builder: CorpusBuilder | None, table: Path, needed: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield rows by the names of the header; a row of another length is skipped."""
    header: list[str] = []
    for place, line in lines(table):
        fields = line.split("\t")
        if not header:
            header = fields
            missing = [name for name in needed if name not in header]
            if missing:
                raise CorpusError(
                    f"{place}: has no column {missing[0]!r}; a Common Voice table has {needed}, "
                    "separated by tabs."
                )
        elif len(fields) == len(header):
            yield place, dict(zip(header, fields, strict=True))
        elif builder is not None:
            builder.skip(
                source=place, reason=f"has {len(fields)} fields and not {len(header)}", split=table.stem
            )


def _durations(file: Path) -> dict[str, float]:
    """Return the seconds of clips by name, as far as known."""
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
            f"{place}: has locale {locale!r}, and the language of the corpus is {rules.language!r}; "
            "change the language, or give the folder of that language."
        )


def _add(
    builder: CorpusBuilder,
    split: str,
    audio: Path,
    durations: dict[str, float],
    place: str,
    row: dict[str, str],
) -> None:
    speaker = row["client_id"]
    if not speaker or not row["path"]:
        builder.skip(source=place, reason="has no client_id or no path", split=split, speaker=speaker)
        return
    try:
        duration = durations.get(audio.name) or audio_duration_seconds(audio)
    except AudioError as error:
        builder.skip(source=place, reason=str(error), split=split, speaker=speaker)
        return
    builder.add(
        id=row["path"],
        speaker=speaker,
        split=split,
        audio=audio,
        text=row["sentence"],
        source=place,
        duration_seconds=duration,
        fields={name: value for name, value in row.items() if value and name not in _OWN_COLUMNS},
    )
