"""Writes exported models: one function for each format, chosen by the suffix of the file.

Guarantee: a file has its name only after it was loaded again and gave the log-probabilities of the model.
"""

import copy
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from base.durable_file import replacing
from speech.errors import ExportError
from speech.export.check import Runner, largest_difference
from speech.export.description import METADATA_FILE, minimum_samples
from speech.export.onnx_file import require_onnx, save_onnx
from speech.export.pretrained_ctc import write_pretrained
from speech.export.waveform_model import WaveformModel
from speech.model.adapters import merge_
from speech.model.checkpoint import LoadedModel
from speech.pretrained.base import PretrainedRecogniser

Writer = Callable[[WaveformModel, Path, Mapping[str, str]], Runner]
_WRITERS: dict[str, Writer] = {}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A written file, its metadata, and its largest difference to the model (nats).

    Example:
        >>> Exported(path=Path("model.onnx"), metadata={}, difference=2e-5).path.suffix
        '.onnx'
    """

    path: Path
    metadata: Mapping[str, str]
    difference: float


def formats() -> tuple[str, ...]:
    """Return the suffixes of all formats."""
    return tuple(_WRITERS)


def require_formats(paths: Iterable[Path]) -> None:
    """Refuse paths that cannot be written.

    Raises:
        ExportError: For a path of no known format, or in no existing folder.
    """
    for path in paths:
        if path.suffix not in _WRITERS:
            raise ExportError(f"{path}: no known format; end the name with {' or '.join(_WRITERS)}.")
        if not path.parent.is_dir():
            raise ExportError(f"{path}: there is no folder {path.parent}; make it first.")


def export_model(loaded: LoadedModel, path: str | Path, metadata: Mapping[str, str]) -> Exported:
    """Write `loaded` to `path`, in the format of its suffix, with `metadata` inside.

    Raises:
        ExportError: For an unknown suffix, a missing library, or an export whose log-probabilities differ by
            more than `TOLERANCE` on several lengths.
    """
    path = Path(path)
    require_formats([path])
    if isinstance(loaded.model, PretrainedRecogniser):
        described, difference = write_pretrained(loaded, path, metadata)
        return Exported(path=path, metadata=described, difference=difference)
    config = loaded.log_mel
    merged = copy.deepcopy(loaded.transformer)
    merge_(merged)
    waveform_model = WaveformModel(merged, config)
    with replacing(path) as temporary:
        runner = _WRITERS[path.suffix](waveform_model, temporary, metadata)
        difference = largest_difference(runner, loaded.transformer, config)
    return Exported(path=path, metadata=metadata, difference=difference)


def _writer_of(suffix: str) -> Callable[[Writer], Writer]:
    def register(writer: Writer) -> Writer:
        _WRITERS[suffix] = writer
        return writer

    return register


@_writer_of(".pt2")
def _torch_export(waveform_model: WaveformModel, path: Path, metadata: Mapping[str, str]) -> Runner:
    """Write a torch.export program, for PyTorch from Python or, compiled, from C++."""
    extra = {METADATA_FILE: json.dumps(dict(metadata))}
    with path.open("wb") as file:
        torch.export.save(_program(waveform_model), file, extra_files=extra)
    with path.open("rb") as file:
        loaded: Runner = torch.export.load(file).module()
    return loaded


@_writer_of(".pt")
def _torchscript(waveform_model: WaveformModel, path: Path, metadata: Mapping[str, str]) -> Runner:
    """Write TorchScript. PyTorch deprecates it, and many C++ and mobile programs still load it."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            waveform_model, _example(waveform_model), check_trace=False
        )
        extra = {METADATA_FILE: json.dumps(dict(metadata))}
        torch.jit.save(traced, str(path), _extra_files=extra)
        loaded: Runner = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return loaded


@_writer_of(".onnx")
def _onnx(waveform_model: WaveformModel, path: Path, metadata: Mapping[str, str]) -> Runner:
    """Write ONNX, for ONNX Runtime and other programs."""
    require_onnx(waveform_model, instead=".pt2")
    session = save_onnx(
        _program(waveform_model),
        path,
        metadata,
        inputs=["waveforms", "lengths"],
        outputs=["log_probs", "frames"],
    )

    def run(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        log_probs, frames = session.run(None, {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()})
        return torch.from_numpy(log_probs), torch.from_numpy(frames)

    return run


def _program(waveform_model: WaveformModel) -> ExportedProgram:
    """Return the graph for any batch and length."""
    batch = Dim("batch")
    samples = Dim("samples", min=minimum_samples(waveform_model.features.config))
    with torch.no_grad():
        return torch.export.export(
            waveform_model,
            _example(waveform_model),
            dynamic_shapes={"waveforms": {0: batch, 1: samples}, "lengths": {0: batch}},
            # The number of frames is never 1 here, and the symbolic solver cannot prove that.
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _example(waveform_model: WaveformModel) -> tuple[Tensor, Tensor]:
    """Return two waveforms of unequal length, so that their trace has masks."""
    second = waveform_model.features.config.sample_rate_hz
    return torch.zeros(2, 2 * second), torch.tensor([2 * second, second])
