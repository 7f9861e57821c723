"""Features on disk: computed once, memory-mapped by every process on the machine that needs them.

One file a speaker, written under another name and renamed, so that a reader sees a whole file or none,
whoever is killed when; two writers of one file write the same. Nothing is locked. The name of a file is a
digest of what its content follows from: the feature configuration, and of every utterance its audio file
(path, size, time of change) and segment. A file that is damaged, by its checksum, is computed again.

Guarantee: nothing leaves this disk, and only the user that runs the process can read it (mode 0700). But
features are speech: who deletes recordings must delete this folder too, or have `remove_all_but` and `remove`
delete what is one person's.
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
from speech.features.log_mel import FeatureConfig

log = logging.getLogger("murmuration.speech")

# To be raised when the same configuration gives other features than before.
VERSION = 1
BOUND_BYTES = 64 * 1024**3
_SUFFIX = ".safetensors"
_FOLDER = re.compile("[0-9a-f]{16}-[0-9a-f]{16}")
_FILE = re.compile(r"[0-9a-f]{32}\.safetensors|\.[0-9a-f]{32}\.safetensors\.\d+\.\d+")  # whole, or under way
_ABANDONED_SECONDS = 3600.0


class Passing(str):
    """A reason why an utterance has no features that may be gone the next time: it is not kept."""


# The features (T, mels) of an utterance, or why it has none.
UtteranceResult = Tensor | str


class FeatureCache:
    """The features of one corpus in one configuration, under `folder`.

    The folder holds at most `bound_bytes`, and never more than half of what the disk has free for it;
    past that, files that nobody used since this process began make place, the oldest first, and if there
    is none, nothing more is written. Every process counts for itself, a sixteenth of the bound at most
    between two counts.

    Raises `CorpusError` if others may read the folder, or if it cannot be made.
    """

    def __init__(
        self, folder: Path, corpus: Corpus, config: FeatureConfig, *, bound_bytes: int = BOUND_BYTES
    ) -> None:
        self.folder = folder
        self._own = folder / f"{corpus.digest[:16]}-{_digest([VERSION, config.written()])[:16]}"
        self._mels = config.num_mels
        self._bound_bytes = bound_bytes
        self._began = time.time()
        self._writes = True
        self._room_bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._own.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise CorpusError(
                f"feature cache {folder}: {error.strerror}; name a folder of your own."
            ) from None
        if folder.stat().st_mode & 0o077:
            raise CorpusError(
                f"feature cache {folder}: others may enter it; `chmod 700` it, or name another."
            )

    @classmethod
    def if_possible(cls, folder: Path, corpus: Corpus, config: FeatureConfig) -> "FeatureCache | None":
        """A cache in a folder that nobody asked for by name: where there can be none, that is no fault."""
        try:
            return cls(folder, corpus, config)
        except CorpusError as error:
            log.warning("features are not kept on disk: %s", error)
            return None

    def place(self, utterances: Sequence[Utterance]) -> Path:
        """Where what is heard in these utterances is kept; ask before their audio is read."""
        return self._own / _name(utterances)

    def load(self, place: Path) -> list[UtteranceResult] | None:
        """What `save` was given for this place, mapped into memory; None if it is not there."""
        try:
            with safe_open(place, framework="pt") as file:
                metadata, features = file.metadata(), file.get_tensor("features")
            os.utime(place)
            return _unpacked(features, metadata)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("a file of features is damaged and will be made anew: %s (%s)", place, error)
            return None

    def save(self, place: Path, heard: Sequence[UtteranceResult]) -> None:
        """Keep what was heard, unless a passing fault is in it. A disk that takes nothing is said once."""
        if not self._writes or any(isinstance(one, Passing) for one in heard):
            return
        temporary = place.with_name(f".{place.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            tensors = [one for one in heard if isinstance(one, Tensor)]
            features = torch.cat(tensors) if tensors else torch.zeros(0, self._mels)
            if not self._has_room(features.nbytes):
                return self._stop_writing("it is full, of features used by the runs of now")
            save_file({"features": features}, temporary, metadata=_metadata(heard, features))
            # Not synced: what a power cut damages is found out by the checksum.
            os.replace(temporary, place)
        except (OSError, SafetensorError) as error:
            self._stop_writing(str(error))
        finally:
            temporary.unlink(missing_ok=True)

    def _stop_writing(self, why: str) -> None:
        self._writes = False
        log.warning("feature cache %s takes no more in this process: %s", self.folder, why)

    def _has_room(self, size: int) -> bool:
        if size > self._room_bytes:
            self._room_bytes = min(self._make_room(), max(self._bound_bytes // 16, size))
        self._room_bytes -= size
        return self._room_bytes >= 0

    def _make_room(self) -> int:
        """Bytes that may be written before the next count; what killed writers left is removed."""
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
    """Remove the features of exactly these utterances of a speaker, as their audio files are now, in any
    configuration; returns how many files that were."""
    name = _name(utterances)
    return _removed(own / name for own in folder.glob("*"))


def remove_all_but(folder: Path, kept: Iterable[Sequence[Utterance]]) -> int:
    """Remove all features but those of these speakers, as their audio files are now; returns how many files.

    To forget one speaker for certain, everybody else is kept: the features of an earlier state of a recording
    have names that nobody can compute again. What is removed in vain is only computed anew.
    """
    names = {_name(utterances) for utterances in kept}
    return _removed(path for path in folder.glob("*/*") if path.name not in names)


def _removed(paths: Iterable[Path]) -> int:
    count = 0
    for path in list(paths):
        # A folder that was named by mistake may hold models, which have this suffix too.
        if _FOLDER.fullmatch(path.parent.name) and _FILE.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)
            count += 1
    return count


def _name(utterances: Sequence[Utterance]) -> str:
    return f"{_digest([utterance.identity() for utterance in utterances])[:32]}{_SUFFIX}"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _metadata(heard: Sequence[UtteranceResult], features: Tensor) -> dict[str, str]:
    rows = [one if isinstance(one, str) else len(one) for one in heard]
    return {"heard": json.dumps([rows, zlib.crc32(features.numpy())])}


def _unpacked(features: Tensor, metadata: dict[str, str]) -> list[UtteranceResult]:
    rows, checksum = json.loads(metadata["heard"])
    if zlib.crc32(features.numpy()) != checksum:
        raise ValueError("its checksum is wrong")
    frames = [0 if isinstance(row, str) else row for row in rows]
    places = pairwise(accumulate(frames, initial=0))
    return [
        row if isinstance(row, str) else features[begin:end]
        for row, (begin, end) in zip(rows, places, strict=True)
    ]
