"""Export of models to what needs none of our code: mostly files with sound in, log-probabilities out.

The formats are `torch.export` (.pt2), TorchScript (.pt) and ONNX (.onnx). Each file has the features inside,
and metadata that describe its outputs. Pre-trained models are also written as folders: `transformers` loads
the whole model, and `peft` its adapters.

Guarantee: a file is kept only if its log-probabilities are those of the model, and a folder for transformers
only if its losses are.
"""

from speech.export.check import TOLERANCE
from speech.export.description import LICENCE_MISSING, describe
from speech.export.huggingface import DTYPES, write_huggingface
from speech.export.peft_adapter import write_peft
from speech.export.writer import Exported, export_model, formats, require_formats

__all__ = [
    "DTYPES",
    "LICENCE_MISSING",
    "TOLERANCE",
    "Exported",
    "describe",
    "export_model",
    "formats",
    "require_formats",
    "write_huggingface",
    "write_peft",
]
