"""A pre-trained model on the disk: a folder in Hugging Face's layout.

Guarantee: nothing of such a folder is executed and nothing is unpickled. Weights are read from safetensors
files only, and code beside them is never loaded.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open

from speech.errors import ModelError

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_PROCESSOR = "processor_config.json"
WEIGHTS, SETTINGS = "*.safetensors", ("*.json", "*.txt", "*.model")
"""Patterns of a model's files: its weights; its settings and its tokeniser."""
REVISION = ".revision"
EXPORTED = "murmuration.json"
"""What `murmur export` says of a model, in the folder that it writes."""
WHISPER = "whisper"
WHISPER_FRONT_END = {"chunk_length": 30, "feature_size": 80, "hop_length": 160, "sampling_rate": 16_000}
"""What transformers' `WhisperFeatureExtractor` takes where a folder says nothing."""
_TOKENISERS = ("tokenizer.json", "vocab.json", "tokenizer_config.json")


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model's configuration, weights, tokeniser and feature settings.

    Raises:
        ModelError: If the folder, or a file that every model has, is missing.

    Example:
        >>> try:
        ...     ModelFolder(Path("/nowhere"))
        ... except ModelError as error:
        ...     print(str(error).partition(";")[0])
        /nowhere: there is no such folder
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise ModelError(
                f"{self.path}: there is no such folder; give one in Hugging Face's layout, with "
                f"{CONFIG}, {PREPROCESSOR}, a tokeniser and {WEIGHTS}."
            )
        for missing in [name for name in (CONFIG, PREPROCESSOR) if not (self.path / name).is_file()]:
            raise ModelError(f"{self.path}: {missing} is missing; copy the whole folder of the model.")
        if not any((self.path / name).is_file() for name in _TOKENISERS):
            raise ModelError(
                f"{self.path}: there is no tokeniser ({' or '.join(_TOKENISERS)}); copy the whole folder."
            )
        if not self.files(WEIGHTS):
            raise ModelError(
                f"{self.path}: there are no {WEIGHTS}; weights of other kinds are not read, since they "
                "can hold code. Save the model again with transformers, which writes safetensors."
            )

    def files(self, *patterns: str) -> list[Path]:
        """Return its files that one of the patterns names, in order of their names."""
        return sorted(file for pattern in patterns for file in self.path.glob(pattern))

    @cached_property
    def preprocessor(self) -> dict[str, Any]:
        """The settings of its front end; those in a processor's file go first, as in the library.

        What a Whisper's lack has the library's defaults.
        """
        nested = (
            self._json(_PROCESSOR).get("feature_extractor") if (self.path / _PROCESSOR).is_file() else None
        )
        found = nested if isinstance(nested, dict) else self._json(PREPROCESSOR)
        return {**WHISPER_FRONT_END, **found} if self.kind == WHISPER else found

    @cached_property
    def exported(self) -> dict[str, str]:
        """What `murmur export` wrote about the model; empty for a model from elsewhere."""
        return self._json(EXPORTED) if (self.path / EXPORTED).is_file() else {}

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the names and contents of its files: settings, tokeniser and weights."""
        return self._digest(*SETTINGS, WEIGHTS)

    @cached_property
    def settings_digest(self) -> str:
        """The same of all files but the weights: two models of equal tensors can compute other things."""
        return self._digest(*SETTINGS)

    def require_digest(self, digest: str) -> None:
        """Refuse a model whose files have another digest than this one; "" stands for any.

        Raises:
            ModelError: Naming both digests.
        """
        if digest and self.digest != digest:
            raise ModelError(
                f"model.digest = {digest}: the model in {self.path} has {self.digest}; copy the model that "
                "the recipe was made with, or take this one's digest into the recipe."
            )

    def _digest(self, *patterns: str) -> str:
        made = hashlib.sha256()
        for file in self.files(*patterns):
            made.update(f"{file.name}\0{_digest_of(file)}\n".encode())
        return made.hexdigest()

    @cached_property
    def kind(self) -> str:
        """The type of its architecture, as `transformers` calls it."""
        return str(self._json(CONFIG).get("model_type", ""))

    @cached_property
    def parameters(self) -> int:
        """The number of values in its weights."""
        count = 0
        for file in self.files(WEIGHTS):
            with safe_open(file, framework="numpy") as weights:
                shapes = (weights.get_slice(name).get_shape() for name in weights.keys())  # noqa: SIM118
                count += sum(math.prod(shape) for shape in shapes)
        return count

    @cached_property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the waveforms that it takes; 0 if it does not say."""
        return int(self.preprocessor.get("sampling_rate", 0))

    @property
    def window_seconds(self) -> float:
        """The length of its window; 0 for none."""
        return float(self.preprocessor.get("chunk_length") or 0)

    @cached_property
    def licence(self) -> str:
        """The licence that its README names; "" if it names none."""
        return self._readme_field("license")

    @cached_property
    def revision(self) -> str:
        """The revision that `murmur model get` noted; "" for a folder from elsewhere."""
        file = self.path / REVISION
        return file.read_text(encoding="utf-8").strip() if file.is_file() else ""

    def _readme_field(self, key: str) -> str:
        readme = self.path / "README.md"
        if not readme.is_file():
            return ""
        lines = readme.read_text(encoding="utf-8", errors="replace").splitlines()
        if not lines or lines[0] != "---":
            return ""
        for line in lines[1 : lines.index("---", 1) if "---" in lines[1:] else 1]:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
        return ""

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.path / name}: not a readable JSON file ({error}).") from None
        if not isinstance(found, dict):
            raise ModelError(f"{self.path / name}: no table of settings; copy the file again.")
        return found


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
