"""The tokeniser and the feature extractor of a folder, as `transformers` loads them.

Guarantee: code beside them is never run, whatever a prompt is answered, and both are functions of their input
alone. A folder can ask for dither (noise on the waveform) and for random pieces of words (BPE dropout). Both
draw from generators that no seed of a speaker reaches: each speaker would change the input of all later ones,
and so the sum by more than the clip bound.
"""

from typing import Any

from speech.errors import ModelError
from speech.pretrained.folder import ModelFolder
from speech.pretrained.transformers_library import transformers

WITHOUT_CODE = {"local_files_only": True, "trust_remote_code": False}
"""What every `from_pretrained` gets: without the second, the library asks on the terminal."""


def library_tokeniser(folder: ModelFolder) -> Any:
    """Return the tokeniser of a folder, which splits a text always in the same way.

    Raises:
        ModelError: If it cannot be loaded, or draws pieces at random and that cannot be turned off.
    """
    try:
        loaded: Any = transformers().AutoTokenizer.from_pretrained(folder.path, **WITHOUT_CODE)
    except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"{folder.path}: transformers cannot use its tokeniser: {error}") from None
    if (getattr(loaded, "sp_model_kwargs", None) or {}).get("enable_sampling"):
        raise ModelError(
            f"{folder.path}: its tokeniser draws pieces of words at random, where no seed of a speaker "
            "reaches; take enable_sampling out of its tokenizer_config.json, on every node"
        )
    pieces: Any = getattr(getattr(loaded, "backend_tokenizer", None), "model", None)
    if getattr(pieces, "dropout", None):
        pieces.dropout = None
    return loaded


def library_extractor(folder: ModelFolder) -> Any:
    """Return the feature extractor of a folder, without dither.

    Raises:
        ModelError: If it cannot be loaded.
    """
    try:
        loaded: Any = transformers().AutoFeatureExtractor.from_pretrained(folder.path, **WITHOUT_CODE)
    except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"{folder.path}: transformers cannot use its front end: {error}") from None
    if getattr(loaded, "dither", 0):
        loaded.dither = 0.0
    return loaded
