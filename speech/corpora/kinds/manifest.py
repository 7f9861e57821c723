"""Kind "manifest": any corpus with a NeMo-style `manifest.jsonl`, one JSON object per line.

Keys: `audio_filepath` (relative to the manifest, or absolute), `text`, `speaker`; and optionally `duration`
and `offset` in seconds, `split` ("train" by default), `id`, `written` (the transcript as it was written, if
`text` is normalised), and `lang`, which must be the language of the corpus. Other keys are fields of the
utterance, kept where somebody asks for them (`Rules.keep_fields`). A broken line refuses the whole manifest,
naming file and line: a program writes manifests, and half of one is no corpus. An utterance that cannot be
used is skipped.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from speech.corpora.builder import CorpusBuilder
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.tables import lines
from speech.errors import AudioError, CorpusError
from speech.sound_files import audio_duration_seconds

MANIFEST_NAME = "manifest.jsonl"
_SIX_DIGITS_SECONDS = 10_000.0
_OWN_KEYS = frozenset(
    {"audio_filepath", "text", "written", "speaker", "split", "id", "lang", "duration", "offset"}
)


def load(path: str, rules: Rules) -> Corpus:
    """Load the manifest at `path`: the file, or a folder with a `manifest.jsonl`."""
    if not path:
        raise CorpusError("a corpus of kind 'manifest' needs a path: that of its manifest.jsonl.")
    return load_manifest(Path(path), rules, name=f"manifest {path}")


def load_manifest(path: Path, rules: Rules, *, name: str) -> Corpus:
    """Load a manifest as the corpus `name`.

    Raises:
        CorpusError: For a broken line, another language, or no usable utterance.
    """
    file = path / MANIFEST_NAME if path.is_dir() else path
    builder = CorpusBuilder(name=name, rules=rules)
    for place, line in lines(file):
        _add(builder, file, place, line)
    return builder.corpus()


def _add(builder: CorpusBuilder, file: Path, source: str, line: str) -> None:
    entry = _parsed(source, line)
    _require_language(entry, source, builder.rules.language)
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
            builder.skip(source=source, reason=str(error), split=split, speaker=speaker)
            return
    builder.add(
        id=_text(entry, source, "id", default=_default_id(name, offset)),
        speaker=speaker,
        split=split,
        audio=audio,
        text=_text(entry, source, "text", may_be_empty=True),
        source=source,
        offset_seconds=offset,
        duration_seconds=duration,
        written=_text(entry, source, "written", default="", may_be_empty=True),
        fields={name: value for name, value in entry.items() if name not in _OWN_KEYS},
    )


def _default_id(name: str, offset: float) -> str:
    """Six digits, as in existing data sets; far into a long file more, so that ids stay unique."""
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
            f"{source}: has a 'shard_id', so its audio is in tar files, as NeMo packs it; "
            "unpack them and give a manifest without shards."
        )
    return entry


def _require_language(entry: dict[str, Any], source: str, language: str) -> None:
    """Refuse another language: its letters would be lost without a message."""
    lang = entry.get("lang")
    if isinstance(lang, str) and lang and re.split("[-_]", lang.lower())[0] != language:
        raise CorpusError(
            f"{source}: its 'lang' is {lang!r}, and the language of the corpus is {language!r}; "
            f"set corpus.language = {lang!r} (or --language), or use another corpus."
        )


def _text(
    entry: dict[str, Any],
    source: str,
    key: str,
    *,
    default: str | None = None,
    may_be_empty: bool = False,
) -> str:
    """Return a string; a whole number, as speaker ids often are, becomes one."""
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
