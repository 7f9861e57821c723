"""The library `transformers`, which the extra 'pretrained' installs."""

import os
from functools import lru_cache
from types import ModuleType

from speech.errors import ModelError
from speech.features.torchaudio_loader import torchaudio


@lru_cache
def transformers() -> ModuleType:
    """Return the library, quiet and without network.

    Raises:
        ModelError: If it is not installed.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _ = torchaudio  # imported by now, or the library would import it in its own way
    try:
        import transformers as library
    except ImportError as error:
        raise ModelError(
            f"pre-trained models need transformers ({error}): pip install 'murmuration[pretrained]'"
        ) from None
    library.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    library.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return library
