"""Models as files that need nothing of ours: sound in, log-probabilities out.

`torch.export` (.pt2), TorchScript (.pt) and ONNX (.onnx), each with the features inside and with
metadata that say what comes out. A file that does not hear what the model hears is not written.
"""

from speech.export.check import TOLERANCE
from speech.export.writer import LICENCE_MISSING, Exported, describe, export_model, formats, require_formats

__all__ = [
    "LICENCE_MISSING",
    "TOLERANCE",
    "Exported",
    "describe",
    "export_model",
    "formats",
    "require_formats",
]
