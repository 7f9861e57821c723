"""Kind "manifest": any corpus with a NeMo-style `manifest.jsonl`, one JSON object per line.

Keys: `audio_filepath` (relative to the manifest, or absolute), `text`, `speaker`; and optionally
`duration` and `offset` in seconds, `split` ("train" where missing), `id`, and `lang`, which must be the
language asked for. Others are ignored.
A line that is broken stops everything, naming file and line: a manifest is written by a program,
and half of one must not pass for a corpus. An utterance that is merely unusable is skipped.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from speech.audio import audio_duration_seconds
from speech.corpora.builder import Selection
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.tables import lines
from speech.errors import AudioError, CorpusError

MANIFEST_NAME = "manifest.jsonl"
_SIX_DIGITS_SECONDS = 10_000.0


def load(path: str, rules: Rules) -> Corpus:
    """Load the manifest at `path`: the file, or a folder that holds a `manifest.jsonl`."""
    if not path:
        raise CorpusError("a corpus of kind 'manifest' needs a path: that of its manifest.jsonl.")
    return load_manifest(Path(path), rules, name=f"manifest {path}")


def load_manifest(path: Path, rules: Rules, *, name: str) -> Corpus:
    """Load a manifest under a name of its own. Raises `CorpusError` as the module says."""
    file = path / MANIFEST_NAME if path.is_dir() else path
    selection = Selection(name=name, rules=rules)
    for place, line in lines(file):
        _add(selection, file, place, line)
    return selection.corpus()


def _add(selection: Selection, file: Path, source: str, line: str) -> None:
    entry = _parsed(source, line)
    _require_language(entry, source, selection.rules.language)
    name = _text(entry, source, "audio_filepath")
    audio = file.parent / name
    offset = _seconds(entry, source, "offset") or 0.0
    split = _text(entry, source, "split", default="train")
    speaker = _text(entry, source, "speaker")
    duration = _seconds(entry, source, "duration")
    if duration is None and audio.is_file():
        try:
            duration = audio_duration_seconds(audio) - offset
        except AudioError as error:
            selection.skip(source=source, reason=str(error), split=split, speaker=speaker)
            return
    selection.add(
        id=_text(entry, source, "id", default=_default_id(name, offset)),
        speaker=speaker,
        split=split,
        audio=audio,
        text=_text(entry, source, "text", may_be_empty=True),
        source=source,
        offset_seconds=offset,
        duration_seconds=duration,
    )


def _default_id(name: str, offset: float) -> str:
    """Six digits name the data sets of old; far into a long file they do not tell its utterances apart."""
    if not offset:
        return name
    return f"{name}@{offset:g}" if offset < _SIX_DIGITS_SECONDS else f"{name}@{offset:.10g}"


def _parsed(source: str, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise CorpusError(f"{source}: is not JSON ({error}); one object per line.") from error
    if not isinstance(entry, dict):
        raise CorpusError(f"{source}: is {type(entry).__name__}, not a JSON object.")
    if "shard_id" in entry:
        raise CorpusError(
            f"{source}: has a 'shard_id', so its audio lies in tar files, as NeMo packs it; "
            "unpack them and give a manifest without shards."
        )
    return entry


def _require_language(entry: dict[str, Any], source: str, language: str) -> None:
    """German read as English would lose its letters without a word."""
    lang = entry.get("lang")
    if isinstance(lang, str) and lang and re.split("[-_]", lang.lower())[0] != language:
        raise CorpusError(
            f"{source}: its 'lang' is {lang!r}, and language {language!r} was asked for; "
            f"say corpus.language = {lang!r} (or --language), or use another corpus."
        )


def _text(
    entry: dict[str, Any],
    source: str,
    key: str,
    *,
    default: str | None = None,
    may_be_empty: bool = False,
) -> str:
    """A string, or a whole number (speaker ids often are), as a string."""
    value = entry.get(key, default)
    if value is None:
        raise CorpusError(f"{source}: has no {key!r}; every line needs one.")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CorpusError(f"{source}: {key!r} is {value!r}; a string is needed.")
    if value == "" and not may_be_empty:
        raise CorpusError(f"{source}: {key!r} is empty.")
    return str(value)


def _seconds(entry: dict[str, Any], source: str, key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise CorpusError(f"{source}: {key!r} is {value!r}; a number of seconds is needed.")
    if seconds < 0:
        raise CorpusError(f"{source}: {key!r} is {value!r}; it must not be negative.")
    return seconds
