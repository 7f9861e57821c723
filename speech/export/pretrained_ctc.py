"""A pre-trained CTC model as a graph for ONNX: one utterance in, log-probabilities out.

The input is the waveform where the model's own front end gives the model a waveform; its normalisation is
inside. Other models take the features of their own front end, whose settings are in the metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from base.durable_file import replacing
from speech.errors import ExportError
from speech.export.check import require_close, sounds
from speech.export.onnx_file import require_onnx, save_onnx
from speech.export.whole_model import whole_model
from speech.model.checkpoint import LoadedModel
from speech.pretrained.ctc import PretrainedCTC

SMALLEST_VARIANCE = 1e-7  # as in transformers' Wav2Vec2FeatureExtractor


class _CTCFromInput(nn.Module):
    """The input of one utterance to log-probabilities; `base` is a CTC model of `transformers`.

    Attributes:
        takes_waveform: Whether the input is (1, S) samples in [-1, 1]; else it is (1, T, width) features.
        normalises: Whether a waveform is brought to mean 0 and variance 1 first.
    """

    def __init__(self, base: nn.Module, *, takes_waveform: bool, normalises: bool) -> None:
        super().__init__()
        self.base = base
        self.takes_waveform, self.normalises = takes_waveform, takes_waveform and normalises
        self.eval()

    @property
    def input_name(self) -> str:
        """The name of the input in the graph."""
        return "waveform" if self.takes_waveform else "features"

    def forward(self, given: Tensor) -> Tensor:
        """Compute log-probabilities (1, T', outputs)."""
        if self.normalises:
            variance = given.var(-1, correction=0, keepdim=True)
            given = (given - given.mean(-1, keepdim=True)) / (variance + SMALLEST_VARIANCE).sqrt()
        logits: Tensor = self.base(given).logits
        return logits.log_softmax(-1)


def require_ctc(loaded: LoadedModel) -> PretrainedCTC:
    """Return the CTC model.

    Raises:
        ExportError: For an encoder-decoder model.
    """
    if isinstance(loaded.model, PretrainedCTC):
        return loaded.model
    raise ExportError(
        f"{loaded.preset}: only CTC models are written as one file, and this is an encoder-decoder model; "
        "write a folder that transformers loads (--format huggingface), or its adapters alone "
        "(--format peft)."
    )


def write_pretrained(
    loaded: LoadedModel, path: Path, metadata: Mapping[str, str]
) -> tuple[dict[str, str], float]:
    """Write a pre-trained CTC model, with its adapters merged, as ONNX.

    Returns:
        The metadata of the file, and the largest difference to the model (nats).

    Raises:
        ExportError: For other models, and other formats.
    """
    model = require_ctc(loaded)
    if path.suffix != ".onnx":
        raise ExportError(
            f"{path}: pre-trained models are written as .onnx, or as a folder (--format huggingface, peft)."
        )
    require_onnx(model.base, instead="a folder (--format huggingface)")
    graph = _graph(model)
    described = {**metadata, **_described(model, graph)}
    with replacing(path) as temporary:
        session = save_onnx(
            _program(model, graph), temporary, described, inputs=[graph.input_name], outputs=["log_probs"]
        )
        difference = _largest_difference(session, model, graph)
    return described, difference


def _graph(model: PretrainedCTC) -> _CTCFromInput:
    """Return the graph of the library's model with the adapters merged."""
    return _CTCFromInput(
        whole_model(model, attention="eager"),  # other kinds do not reach ONNX
        takes_waveform=model.front_end.width == 1,
        normalises=bool(model.folder.preprocessor.get("do_normalize", True)),
    )


def _program(model: PretrainedCTC, graph: _CTCFromInput) -> ExportedProgram:
    """Return the graph for any length."""
    given = _input(model, graph, torch.randn(2 * model.front_end.sample_rate_hz))
    with torch.no_grad():
        return torch.export.export(
            graph,
            (given,),
            dynamic_shapes={"given": {1: Dim.DYNAMIC}},
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _described(model: PretrainedCTC, graph: _CTCFromInput) -> dict[str, str]:
    """What a program needs to use the graph without our code."""
    inputs = (
        "waveform (1, S) float32 in [-1, 1], not normalised"
        if graph.takes_waveform
        else f"features (1, T, {model.front_end.width}) float32, of the front end in `preprocessor`"
    )
    return {
        "inputs": inputs,
        "outputs": "log_probs (1, T', outputs) float32",
        "blank": str(model.blank),
        "vocabulary": json.dumps(_symbols(model), ensure_ascii=False),
        "preprocessor": json.dumps(model.folder.preprocessor),
        "decoding": "CTC: best output of each frame, repeats collapsed, the blank dropped",
    }


@torch.inference_mode()
def _largest_difference(session: Any, model: PretrainedCTC, graph: _CTCFromInput) -> float:
    """Return the largest difference of a log-probability between an ONNX session and the model.

    Raises:
        ExportError: If it is above `TOLERANCE`.
    """
    worst, extract = 0.0, model.front_end.extractor()
    for waveform in sounds(model.front_end.sample_rate_hz, shortest_seconds=0.5):
        found = session.run(None, {graph.input_name: _input(model, graph, waveform).numpy()})[0]
        features = extract(waveform)
        expected, _ = model(features[None], torch.tensor([len(features)]))
        if found.shape != expected.shape:
            raise ExportError(f"the exported model gives {found.shape}, the model {tuple(expected.shape)}.")
        worst = max(worst, float((torch.from_numpy(found) - expected).abs().nan_to_num(torch.inf).max()))
    return require_close(worst)


def _input(model: PretrainedCTC, graph: _CTCFromInput, waveform: Tensor) -> Tensor:
    given = waveform if graph.takes_waveform else model.front_end.extractor()(waveform)
    return given[None].contiguous()


def _symbols(model: PretrainedCTC) -> list[str]:
    """The symbol of each output; a word's end or beginning as the model's own tokeniser writes it."""
    if model.has_new_head:
        return [*model.alphabet.characters, ""]
    return model.tokeniser.symbols  # type: ignore[attr-defined,no-any-return]
