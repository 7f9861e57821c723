"""Writes a pre-trained model as a folder in Hugging Face's layout, with its adapters merged.

Guarantee: the folder has its name only after it was loaded again and gave the losses and texts of the model.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from base.durable_folder import new_folder
from speech.data.batching import Batch, collate
from speech.data.examples import Example
from speech.errors import ExportError
from speech.export.check import sounds
from speech.export.description import METADATA_FILE
from speech.export.whole_model import has_new_head, whole_model
from speech.model.checkpoint import LoadedModel
from speech.model.choice import ModelChoice
from speech.model.recogniser import BatchEvaluation, Recogniser
from speech.pretrained.base import PretrainedRecogniser
from speech.pretrained.folder import SETTINGS
from speech.text import Alphabet

DTYPES = {"float32": torch.float32, "float16": torch.float16}
TOLERANCES = {"float32": 1e-3, "float16": 5e-2}
"""The largest difference of a loss that counts as equal, as a share of the loss."""

README = "README.md"
_OWN_FILES = ("config.json", METADATA_FILE)
_TOKENISER_FILES = (
    *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "normalizer.json"),
)
_SPACE, _BLANK = "|", "<pad>"


@dataclass(frozen=True, kw_only=True)
class WrittenFolder:
    """A written folder, and the largest difference of a loss to the model's, as a share of the loss.

    Example:
        >>> WrittenFolder(path=Path("adapted"), difference=2e-6).path.name
        'adapted'
    """

    path: Path
    difference: float


def write_huggingface(
    loaded: LoadedModel, path: Path, metadata: Mapping[str, str], readme: str, *, dtype: str = "float32"
) -> WrittenFolder:
    """Write a folder that `transformers` loads without our code.

    Args:
        loaded: A pre-trained model.
        path: The folder, which must be missing or empty.
        metadata: What `describe` says of it.
        readme: Its model card.
        dtype: Of the weights, a key of `DTYPES`.

    Raises:
        ExportError: For a preset of ours, a folder with something in it, and a folder that computes
            something else.
        ModelError: If an adapter cannot be merged.
    """
    model = require_pretrained(loaded)
    require_free(path)
    with new_folder(path) as folder:
        copy_settings(model, folder)
        whole_model(model).to(DTYPES[dtype]).save_pretrained(folder)
        write_description(folder, metadata, readme)
        difference = _difference(model, folder, TOLERANCES[dtype])
    return WrittenFolder(path=path, difference=difference)


def require_pretrained(loaded: LoadedModel) -> PretrainedRecogniser:
    """Return the pre-trained model.

    Raises:
        ExportError: For a preset of ours.
    """
    if isinstance(loaded.model, PretrainedRecogniser):
        return loaded.model
    raise ExportError(
        f"{loaded.preset}: a preset of ours, which transformers does not know; write it to a file "
        "(.onnx, .pt2, .pt), with its adapters merged."
    )


def require_free(path: Path) -> None:
    """Refuse a place where something is.

    Raises:
        ExportError: If it is a file, or a folder that is not empty.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise ExportError(f"{path}: something is there already; name a new folder.")


def copy_settings(model: PretrainedRecogniser, folder: Path) -> None:
    """Copy tokeniser, front end and settings of the base model; a new head gets a tokeniser of its own."""
    new_head = has_new_head(model)
    for file in model.folder.files(*SETTINGS):
        ours = file.name in _OWN_FILES or (new_head and _is_of_a_tokeniser(file))
        if not ours and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    if new_head:
        _write_tokeniser(model.alphabet, folder)


def _is_of_a_tokeniser(file: Path) -> bool:
    """Whether a file of settings belongs to a tokeniser; those of SentencePiece have any name."""
    return file.name in _TOKENISER_FILES or file.suffix == ".model"


def write_description(folder: Path, metadata: Mapping[str, str], readme: str) -> None:
    """Write the model card, and the metadata as a file."""
    (folder / README).write_text(readme, encoding="utf-8")
    (folder / METADATA_FILE).write_text(json.dumps(dict(metadata), indent=2) + "\n", encoding="utf-8")


def _write_tokeniser(alphabet: Alphabet, folder: Path) -> None:
    """Write the characters of a new head as the tokeniser that `transformers` has for such heads."""
    if _SPACE in alphabet.characters:
        raise ExportError(f"the character {_SPACE!r} stands for a space in transformers; leave it out.")
    symbols = [_SPACE if one == " " else one for one in alphabet.characters] + [_BLANK]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    settings = {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "pad_token": _BLANK,
        "word_delimiter_token": _SPACE,
        "do_lower_case": False,
        "clean_up_tokenization_spaces": False,
        **dict.fromkeys(("unk_token", "bos_token", "eos_token")),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


@torch.inference_mode()
def _difference(model: PretrainedRecogniser, folder: Path, tolerance: float) -> float:
    """Return the largest difference of a loss between `model` and the folder's, as a share of the loss."""
    again = ModelChoice(name=str(folder.absolute()), window=model.choice.window).make(model.alphabet)
    ours, theirs = _evaluated(model), _evaluated(again.eval())
    difference = float(((ours.losses - theirs.losses).abs() / ours.losses.abs().clamp(min=1)).max())
    if not difference <= tolerance:
        raise ExportError(
            f"the exported model differs from the model by {difference:.3g} of a loss, {tolerance:g} at most "
            "is allowed; nothing was written."
        )
    return difference


def _evaluated(model: Recogniser) -> BatchEvaluation:
    extract = model.front_end.extractor()
    return model.evaluate(
        _batch(model, [extract(one) for one in sounds(model.front_end.sample_rate_hz, 0.5)])
    )


def _batch(model: Recogniser, inputs: list[torch.Tensor]) -> Batch:
    text = model.alphabet.characters[0]
    return collate([Example.of(str(index), text, one, model.tokeniser) for index, one in enumerate(inputs)])
