"""Kind "huggingface": a data set of Hugging Face `datasets` from `save_to_disk` (extra "huggingface").

It needs a column of audio, one of text and one of speakers, under one of the names below. The splits of a
`DatasetDict` keep their names ("validation" becomes "dev"); a single `Dataset` is "train". Audio that the
data set only points at is read at its place. Audio inside the Arrow files must first be written to files
(`murmur corpus prepare huggingface`), because a run reads sound files.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speech.corpora.builder import CorpusBuilder
from speech.corpora.corpus import Corpus, Rules
from speech.errors import CorpusError

AUDIO_COLUMNS = ("audio",)
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "normalized_text")
SPEAKER_COLUMNS = ("speaker_id", "speaker", "client_id")
ID_COLUMNS = ("id", "utterance_id")


def load(path: str, rules: Rules) -> Corpus:
    """Load a data set whose audio is in files of its own.

    Raises:
        CorpusError: Without the extra, for a path that is no saved data set, for a data set without one of
            the
            columns, and for audio inside the Arrow files.
    """
    return load_extracted(path, None, rules)


def load_extracted(path: str, folder: Path | None, rules: Rules) -> Corpus:
    """Load as `load` does; write audio inside the Arrow files to `folder`, unless it is there."""
    if not path:
        raise CorpusError("a corpus of kind 'huggingface' needs a path: the folder of save_to_disk.")
    builder = CorpusBuilder(name=f"huggingface {path}", rules=rules)
    for split, rows in _splits(path).items():
        for number, row in enumerate(_rows(f"{path}[{split}]", rows)):
            _add(builder, split, f"{path}[{split}]:{number}", number, row, folder)
    return builder.corpus()


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
    """Yield rows under our names, with audio as {"path", "bytes"}, not decoded."""
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
        "Rename a column (rename_column), and save the data set again."
    )


def _add(
    builder: CorpusBuilder, split: str, source: str, number: int, row: dict[str, Any], folder: Path | None
) -> None:
    speaker = "" if row["speaker"] is None else str(row["speaker"])
    if not speaker:
        builder.skip(source=source, reason="has no speaker", split=split)
        return
    audio = row["audio"] or {}
    name = Path(audio.get("path") or "").name
    if audio.get("bytes") is not None:
        if folder is None:
            raise CorpusError(
                f"{source}: its audio is inside the Arrow files; write it to files with `murmur corpus "
                "prepare huggingface PATH --out FOLDER`, and use those."
            )
        # The hash keeps the names in earlier manifests valid.
        content = hashlib.sha256(audio["bytes"]).hexdigest()[:12]
        file = folder / split / f"{number:07d}-{content}{Path(name).suffix or '.wav'}"
        _write(file, audio["bytes"])
    else:
        file = Path(audio.get("path") or "")
    builder.add_file(
        id=f"{split}-{number if row['id'] is None else row['id']}",  # a column may restart in each split
        speaker=speaker,
        split=split,
        audio=file,
        text=row["text"] or "",
        source=source,
    )


def _write(file: Path, content: bytes) -> None:
    """Write the whole file or none: an interrupted extraction continues."""
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(file)
