"""The one module that imports torchaudio: `from speech.features.torchaudio_loader import torchaudio`.

torchaudio's compiled extension is built for one exact torch, and does not load beside another one or a
CPU-only one. We use only its transforms and its resampler, which are pure Python. Where the real extension
cannot load, and only there, a module that reports "no extension" replaces it.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_EXTENSION = "torchaudio._extension"


def _without_alignment(function: Any) -> Any:
    """Keep a function that needs the extension importable; calling it fails."""
    return function


def _absent_extension() -> ModuleType:
    """Make the `torchaudio._extension` of an installation without the extension."""
    module = ModuleType(_EXTENSION)
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _load_lib=lambda name: False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=_without_alignment,
    )
    return module


def _load() -> ModuleType:
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError, RuntimeError):
        # A partly imported package would hide the second attempt.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules[_EXTENSION] = _absent_extension()
        return importlib.import_module("torchaudio")


# Typed `Any`: torchaudio ships no type information.
torchaudio: Any = _load()
