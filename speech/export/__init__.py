"""Export of models to files that need none of our code: sound in, log-probabilities out.

The formats are `torch.export` (.pt2), TorchScript (.pt) and ONNX (.onnx). Each file has the features inside,
and metadata that describe its outputs.

Guarantee: a file is kept only if its log-probabilities are those of the model.
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
