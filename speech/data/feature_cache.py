"""Features on disk: computed once, and memory-mapped by every process on the machine.

There is one file a speaker. It is written under another name and renamed, so a reader finds a whole file or
none, whichever process is killed. Two writers of one file write the same bytes. Nothing is locked. The name
of a file is a digest of everything that determines its content: the feature configuration and, for every
utterance, its audio file (path, size, time of change) and segment. A file with a wrong checksum is computed
again.

Guarantee: nothing leaves this disk, and only the user that runs the process can read it (mode 0700). But
features are speech: who deletes recordings must delete this folder too, or delete one person's files by
`remove_all_but` and `remove`.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from speech.corpora.corpus import Corpus, Utterance
from speech.errors import CorpusError
from speech.features.front_end import FrontEnd

log = logging.getLogger("murmuration.speech")

# Raised when the same configuration gives other features.
VERSION = 1
BOUND_BYTES = 64 * 1024**3
_SUFFIX = ".safetensors"
_FOLDER = re.compile("[0-9a-f]{16}-[0-9a-f]{16}")
# Whole files, and those that are being written.
_FILE = re.compile(r"[0-9a-f]{32}\.safetensors|\.[0-9a-f]{32}\.safetensors\.\d+\.\d+")
_ABANDONED_SECONDS = 3600.0


class Passing(str):
    """A reason without features that may be gone the next time, so it is not kept.

    Example:
        >>> Passing("call.wav: the system cannot read it now") == "call.wav: the system cannot read it now"
        True
    """


FeaturesOrFault = Tensor | str
"""The features (T, mels) of an utterance, or the reason why it has none."""


class FeatureCache:
    """The features of one corpus in one configuration, under `folder`.

    The folder has at most `bound_bytes`, and never more than half of the free space of the disk. Above that,
    files that no process used since this one began are removed, the oldest first; if there is none, nothing
    more is written. Each process counts by itself, at the latest after writing a sixteenth of the bound.

    Raises:
        CorpusError: If other users may read the folder, or if it cannot be made.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from base.registries import MODEL_PRESETS
        >>> from speech.corpora.loading import load_corpus
        >>> corpus = load_corpus("embedded", "")
        >>> with TemporaryDirectory() as folder:
        ...     cache = FeatureCache(Path(folder), corpus, MODEL_PRESETS["tiny"].features)
        ...     file = cache.file_of(corpus.utterances("test", "test-000"))
        ...     cache.load(file) is None
        True
    """

    def __init__(
        self, folder: Path, corpus: Corpus, config: FrontEnd, *, bound_bytes: int = BOUND_BYTES
    ) -> None:
        self.folder = folder
        self._own = folder / f"{corpus.digest[:16]}-{_digest([VERSION, config.written()])[:16]}"
        self._width = config.width
        self._bound_bytes = bound_bytes
        self._began = time.time()
        self._writes = True
        self._room_bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._own.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise CorpusError(
                f"feature cache {folder}: {error.strerror}; name a folder that is yours."
            ) from None
        if folder.stat().st_mode & 0o077:
            raise CorpusError(
                f"feature cache {folder}: other users may enter it; `chmod 700` it, or name another."
            )

    @classmethod
    def if_possible(cls, folder: Path, corpus: Corpus, config: FrontEnd) -> "FeatureCache | None":
        """Return a cache in a default folder, or None (with a warning) if there cannot be one."""
        try:
            return cls(folder, corpus, config)
        except CorpusError as error:
            log.warning("features are not kept on disk: %s", error)
            return None

    def file_of(self, utterances: Sequence[Utterance]) -> Path:
        """Return the cache path of these utterances; call it before their audio is read."""
        return self._own / _name(utterances)

    def load(self, file: Path) -> list[FeaturesOrFault] | None:
        """Return what was saved in this file, mapped into memory; None if there is none, or a damaged one."""
        try:
            with safe_open(file, framework="pt") as content:
                metadata, features = content.metadata(), content.get_tensor("features")
            os.utime(file)
            return _unpacked(features, metadata)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("a file of features is damaged and is computed again: %s (%s)", file, error)
            return None

    def save(self, file: Path, results: Sequence[FeaturesOrFault]) -> None:
        """Write results, unless one is a passing fault. A disk without room is logged once."""
        if not self._writes or any(isinstance(one, Passing) for one in results):
            return
        temporary = file.with_name(f".{file.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            tensors = [one for one in results if isinstance(one, Tensor)]
            features = torch.cat(tensors) if tensors else torch.zeros(0, self._width)
            if not self._has_room(features.nbytes):
                return self._stop_writing("it is full of features that current runs use")
            save_file({"features": features}, temporary, metadata=_metadata(results, features))
            # Not synced: the checksum finds what a power cut damages.
            os.replace(temporary, file)
        except (OSError, SafetensorError) as error:
            self._stop_writing(str(error))
        finally:
            temporary.unlink(missing_ok=True)

    def _stop_writing(self, why: str) -> None:
        self._writes = False
        log.warning("this process writes no more features to %s: %s", self.folder, why)

    def _has_room(self, size: int) -> bool:
        if size > self._room_bytes:
            self._room_bytes = min(self._make_room(), max(self._bound_bytes // 16, size))
        self._room_bytes -= size
        return self._room_bytes >= 0

    def _make_room(self) -> int:
        """Return the bytes to write before the next count; remove the files of killed writers."""
        files = []
        for path in self.folder.glob(f"*/*{_SUFFIX}*"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            if path.suffix == _SUFFIX:
                files.append((stat.st_mtime, stat.st_size, path))
            elif stat.st_mtime < self._began - _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        used = sum(size for _, size, _ in files)
        bound = min(self._bound_bytes, used + shutil.disk_usage(self.folder).free // 2)
        for last_used, size, path in sorted(files):
            if used <= bound - bound // 16 or last_used >= self._began:
                break
            path.unlink(missing_ok=True)
            used -= size
        return bound - used


def remove(folder: Path, utterances: Sequence[Utterance]) -> int:
    """Remove the features of exactly these utterances of a speaker, in any configuration.

    Audio files count as they are now. Returns the number of removed files.
    """
    name = _name(utterances)
    return _removed(own / name for own in folder.glob("*"))


def remove_all_but(folder: Path, kept: Iterable[Sequence[Utterance]]) -> int:
    """Remove all features but those of these speakers, as their audio files are now; return the count.

    To delete one speaker for certain, keep all others: the features of an earlier state of a recording have
    names that cannot be computed again. A file that was removed without need is computed again.
    """
    names = {_name(utterances) for utterances in kept}
    return _removed(path for path in folder.glob("*/*") if path.name not in names)


def _removed(paths: Iterable[Path]) -> int:
    count = 0
    for path in list(paths):
        # A folder that was named by mistake may have models, which have this suffix too.
        if _FOLDER.fullmatch(path.parent.name) and _FILE.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)
            count += 1
    return count


def _name(utterances: Sequence[Utterance]) -> str:
    return f"{_digest([utterance.identity() for utterance in utterances])[:32]}{_SUFFIX}"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _metadata(results: Sequence[FeaturesOrFault], features: Tensor) -> dict[str, str]:
    rows = [one if isinstance(one, str) else len(one) for one in results]
    return {"rows": json.dumps([rows, zlib.crc32(features.numpy().data)])}


def _unpacked(features: Tensor, metadata: dict[str, str]) -> list[FeaturesOrFault]:
    (written,) = (metadata or {}).values()  # one entry; earlier releases gave it another name
    rows, checksum = json.loads(written)
    if zlib.crc32(features.numpy().data) != checksum:
        raise ValueError("its checksum is wrong")
    frames = [0 if isinstance(row, str) else row for row in rows]
    places = pairwise(accumulate(frames, initial=0))
    return [
        row if isinstance(row, str) else features[begin:end]
        for row, (begin, end) in zip(rows, places, strict=True)
    ]
