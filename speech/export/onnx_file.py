"""Writes one graph as an ONNX file and opens it again."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from speech.errors import ExportError

# Above 1,536 MiB torch.onnx writes the weights to a second file; the constants of the graph are small.
LARGEST_ONNX_BYTES = 1500 * 2**20


def require_onnx(module: nn.Module, *, instead: str) -> None:
    """Refuse, before any work, what cannot become one ONNX file here.

    Args:
        module: What shall be written.
        instead: Where a model that is too large can go.

    Raises:
        ExportError: If it is too large, or a library is missing.
    """
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > LARGEST_ONNX_BYTES:
        raise ExportError(
            f"the model takes {size / 2**20:,.0f} MiB, and an ONNX file has "
            f"{LARGEST_ONNX_BYTES / 2**20:,.0f} at most: torch writes more weights to a second file. "
            f"Export it to {instead}."
        )
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise ExportError(
            f"ONNX needs {error.name}, which is not installed; `pip install 'murmuration[export]'`."
        ) from None


def save_onnx(
    exported: ExportedProgram,
    path: Path,
    metadata: Mapping[str, str],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Any:
    """Write a graph with these names of its inputs and outputs; return an ONNX Runtime session of the file.

    Raises:
        ExportError: If torch cannot translate the graph.
    """
    import onnxruntime

    with _quiet_exporter():
        program = torch.onnx.export(
            exported, input_names=inputs, output_names=outputs, dynamo=True, verbose=False
        )
    if program is None:
        raise ExportError("torch.onnx returned no program; nothing was written.")
    program.model.metadata_props.update(metadata)
    program.save(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Suppress the warnings of torch.onnx about missing optional packages and its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
