"""Kind "huggingface": a data set of Hugging Face `datasets` as `save_to_disk` wrote it (extra "huggingface").

It needs a column of audio, one of text and one of speakers, under one of the names below. The splits of a
`DatasetDict` keep their names ("validation" is "dev"); a single `Dataset` is "train". Audio that the data
set only points at is read where it lies; audio inside its Arrow files is first written out, by `extract`
(`murmur corpus prepare huggingface`), for a run reads sound files.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speech.corpora.builder import Selection
from speech.corpora.corpus import Corpus, Rules
from speech.errors import CorpusError

AUDIO_COLUMNS = ("audio",)
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "normalized_text")
SPEAKER_COLUMNS = ("speaker_id", "speaker", "client_id")
ID_COLUMNS = ("id", "utterance_id")


def load(path: str, rules: Rules) -> Corpus:
    """Load a data set whose audio lies in files of its own.

    Raises `CorpusError` without the extra, for a path that is no saved data set, for one that lacks a
    column, and for audio inside the Arrow files.
    """
    return load_extracted(path, None, rules)


def load_extracted(path: str, folder: Path | None, rules: Rules) -> Corpus:
    """As `load`; audio inside the Arrow files is written to `folder`, where it is kept if it is there."""
    if not path:
        raise CorpusError("a corpus of kind 'huggingface' needs a path: the folder of save_to_disk.")
    selection = Selection(name=f"huggingface {path}", rules=rules)
    for split, rows in _splits(path).items():
        for number, row in enumerate(_rows(f"{path}[{split}]", rows)):
            _add(selection, split, f"{path}[{split}]:{number}", number, row, folder)
    return selection.corpus()


def _splits(path: str) -> dict[str, Any]:
    try:
        import datasets
    except ImportError:
        raise CorpusError(
            "a corpus of kind 'huggingface' needs the package `datasets`: "
            "pip install 'murmuration[huggingface]'."
        ) from None
    try:
        loaded = datasets.load_from_disk(path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: is no data set saved by save_to_disk ({error}).") from None
    table = loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    return {"dev" if name == "validation" else name: rows for name, rows in table.items()}


def _rows(place: str, rows: Any) -> Iterator[dict[str, Any]]:
    """Rows under our names, their audio as {"path", "bytes"} and not decoded."""
    import datasets

    columns = {
        "audio": _column(place, rows, AUDIO_COLUMNS),
        "text": _column(place, rows, TEXT_COLUMNS),
        "speaker": _column(place, rows, SPEAKER_COLUMNS),
    }
    if not isinstance(rows.features[columns["audio"]], datasets.Audio):
        raise CorpusError(f"{place}: its column {columns['audio']!r} is no Audio feature; cast it to one.")
    ids = [name for name in ID_COLUMNS if name in rows.column_names]
    rows = rows.cast_column(columns["audio"], datasets.Audio(decode=False))
    for row in rows:
        yield {name: row[column] for name, column in columns.items()} | {"id": row[ids[0]] if ids else None}


def _column(place: str, rows: Any, names: tuple[str, ...]) -> str:
    for name in names:
        if name in rows.column_names:
            return name
    raise CorpusError(
        f"{place}: has none of the columns {', '.join(names)}; it has {', '.join(rows.column_names)}. "
        "Rename the one that is meant (rename_column) and save it again."
    )


def _add(
    selection: Selection, split: str, source: str, number: int, row: dict[str, Any], folder: Path | None
) -> None:
    speaker = "" if row["speaker"] is None else str(row["speaker"])
    if not speaker:
        selection.skip(source=source, reason="has no speaker", split=split)
        return
    audio = row["audio"] or {}
    name = Path(audio.get("path") or "").name
    if audio.get("bytes") is not None:
        if folder is None:
            raise CorpusError(
                f"{source}: its audio is inside the Arrow files; write it out with `murmur corpus prepare "
                "huggingface PATH --out FOLDER`, and use that."
            )
        # An earlier manifest goes on naming the audio that it was written for.
        content = hashlib.sha256(audio["bytes"]).hexdigest()[:12]
        file = folder / split / f"{number:07d}-{content}{Path(name).suffix or '.wav'}"
        _write(file, audio["bytes"])
    else:
        file = Path(audio.get("path") or "")
    selection.add_file(
        id=f"{split}-{number if row['id'] is None else row['id']}",  # a column may count anew in each split
        speaker=speaker,
        split=split,
        audio=file,
        text=row["text"] or "",
        source=source,
    )


def _write(file: Path, content: bytes) -> None:
    """Written whole or not at all: an interrupted extraction goes on where it was."""
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(file)
