"""A process that reads mutated speech under a memory limit, one request a line; and the side that asks it.

A decoder that crashes, hangs or takes all memory must not take the tests with it.
"""

import json
import resource
import select
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from base.registries import MODEL_PRESETS

MORE_BYTES = 1 << 30  # beyond what the process has when it is ready
HANGS_SECONDS = 60.0  # by the clock, on a busy machine
MOST_SECONDS = 5.0  # of a processor


class ReadingProcess:
    """The process, started anew after it died. Used as a context."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "ReadingProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def ask(self, what: str, path: Path, **more: str) -> dict[str, Any]:
        """What became of a file or a corpus: `taken` counts, `refused` errors, `crashed` a traceback.

        Raises `AssertionError` if the process died, hung, or took too long.
        """
        if self._process is None:
            command = [sys.executable, "-m", "tests.fuzz.reading_process"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
            self._answer(HANGS_SECONDS)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, "path": str(path), **more}) + "\n")
        self._process.stdin.flush()
        said = self._answer(HANGS_SECONDS)
        assert said["seconds"] < MOST_SECONDS, said
        return said

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            code = self._process.poll() if ready else "none: it hangs"
            self._end()
            raise AssertionError(f"the process gave no answer; its exit code is {code}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def decode_sound(path: Path) -> dict[str, int]:
    """Every way in which the product reads a sound file; each may refuse it."""
    import torch

    from speech.audio import AudioStream, Recording, read_audio
    from speech.sound_files import audio_duration_seconds

    counts = {"read": 0}

    def whole() -> None:
        wave = read_audio(path)
        assert wave.dim() == 1 and len(wave) and wave.dtype == torch.float32 and torch.isfinite(wave).all()
        counts["read"] += 1

    def length() -> None:
        assert 0 <= audio_duration_seconds(path) < float("inf")

    def segment() -> None:
        piece = Recording.read(path).segment(0.05, 0.1)
        assert torch.isfinite(piece).all() and len(piece) <= 0.4 * 16_000

    def stream() -> None:
        with AudioStream(path) as file:
            while len(file.read(1 << 16)) == 1 << 16:
                pass

    counts["refused"] = sum(map(_refused, (length, whole, segment, stream)))
    return counts


def _refused(read: Any) -> bool:
    from speech.errors import SpeechError

    try:
        read()
    except SpeechError as error:
        assert str(error) and "Traceback" not in str(error)
        return True
    return False


def read_corpus(path: Path, kind: str) -> dict[str, int]:
    """Load a corpus and compute all its examples."""
    from speech.corpora.loading import load_corpus
    from speech.data.examples import ExampleStore
    from speech.errors import SpeechError

    try:
        corpus = load_corpus(kind, path)
    except SpeechError as error:
        assert str(error) and "Traceback" not in str(error)
        return {"refused": 1}
    store = ExampleStore(corpus, MODEL_PRESETS["tiny"].features)
    examples = [example for split in corpus.splits for example in store.split_examples(split)]
    utterances = sum(1 for _ in corpus.all_utterances())
    assert len(examples) + len(store.skipped) == utterances  # nobody is lost without a word
    assert all(
        skipped.reason and "Traceback" not in skipped.reason for skipped in (*corpus.skipped, *store.skipped)
    )
    bytes.fromhex(corpus.digest)
    return {"loaded": 1, "examples": len(examples), "skipped": len(corpus.skipped) + len(store.skipped)}


READERS = {"sound": decode_sound, "corpus": read_corpus}


def main() -> None:
    """Serve until the input ends."""
    import torch

    import speech.corpora.kinds
    import speech.data.examples  # noqa: F401  before the limit is set
    from speech.audio import resample

    torch.set_num_threads(1)
    resample(torch.zeros(8_000), 8_000, 16_000)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.process_time()
        try:
            what, path = asked.pop("what"), Path(asked.pop("path"))
            said: dict[str, Any] = {"counts": READERS[what](path, **asked)}
        except BaseException:
            said = {"crashed": traceback.format_exc()}
        print(json.dumps({**said, "seconds": time.process_time() - began}), flush=True)


if __name__ == "__main__":
    main()
