"""A training step of the paper's 255.8 M model on a GPU: `python -m benchmarks.paper_model_gpu`.

Without a GPU it says so and ends with status 1: there is nothing to measure then, and no page is written.

A step is forward, CTC, backward, gradient clip and SGD on the flat vector, as a node does it, on 120 seconds
of audio (the paper's batch). The share of the peak is that of the rate at which the same GPU, in the same
run, multiplies two large bfloat16 matrices.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from base.registries import MODEL_PRESETS
from benchmarks.report import conditions, table, write
from speech.data.batching import Batch, collate
from speech.data.examples import Example
from speech.model.compute import Compute
from speech.model.ctc_transformer import CTCTransformer, build_model
from strategies import bind, bind_gradients

UTTERANCES, SECONDS = 10, 12.0
TEXT = "what is said in so many seconds of speech is about this long " * 3


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way to compute: the median step, the most memory it held, and its work."""

    step_seconds: float
    peak_bytes: int
    flops: int


def batch(preset: str, *, padded: bool) -> Batch:
    """120 seconds of features; `padded`: the same rows, but every second utterance is three quarters long."""
    generator = torch.Generator().manual_seed(0)
    config = MODEL_PRESETS[preset].shape
    frames = round(SECONDS / config.frame_seconds)
    lengths = [frames * 3 // 4 if padded and row % 2 else frames for row in range(UTTERANCES)]
    return collate(
        [
            Example.of(str(row), TEXT.strip(), torch.randn(length, config.num_mels, generator=generator))
            for row, length in enumerate(lengths)
        ]
    )


def measure(preset: str, compute: Compute, speech: Batch, *, fused: bool, steps: int = 20) -> Measured:
    """Warm up, then time `steps` steps."""
    model = build_model(preset, seed=0, dropout=0.0, layer_drop=0.0).train()
    compute.place(model)
    layout, vector = bind(model)
    gradients = bind_gradients(model, layout)

    def step() -> None:
        gradients.zero_()
        with compute.autocast():
            loss = model.objective(speech)
        loss.backward()
        gradients.mul_((1.0 / gradients.norm()).clamp_(max=1.0))
        vector.add_(gradients, alpha=-1e-3)

    with nullcontext() if fused else sdpa_kernel(SDPBackend.MATH):
        for _ in range(3):
            step()
        synchronise = synchroniser(compute.device)
        synchronise()
        if compute.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        times = [_timed(step, synchronise) for _ in range(steps)]
    held = torch.cuda.max_memory_allocated() if compute.device.type == "cuda" else 0
    return Measured(step_seconds=statistics.median(times), peak_bytes=held, flops=flops_of(preset, speech))


def matmul_rate(device: torch.device, size: int = 8192) -> float:
    """Floating point operations a second of a large bfloat16 product."""
    left = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    right = torch.randn_like(left)
    synchronise = synchroniser(device)
    times = [_timed(lambda: left @ right, synchronise) for _ in range(10)]
    return 2 * size**3 / min(times)


def flops_of(preset: str, speech: Batch) -> int:
    """Operations of forward and backward, counted one by one on tensors without memory."""
    with torch.device("meta"):
        model: CTCTransformer = build_model(preset, dropout=0.0, layer_drop=0.0)
    with FlopCounterMode(display=False) as counter:
        log_probs, _ = model(speech.features.to("meta"), speech.lengths)
        log_probs.sum().backward()
    return counter.get_total_flops()


def _timed(work: Callable[[], object], synchronise: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - began


def synchroniser(device: torch.device) -> Callable[[], None]:
    """What waits for the device."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def rows(preset: str, device: str, steps: int = 20) -> list[tuple[str, ...]]:
    """The table: every way to compute, in one run."""
    plain, padded = batch(preset, padded=False), batch(preset, padded=True)
    rate = matmul_rate(torch.device(device), 8192 if device == "cuda" else 512)
    ways: list[tuple[str, Batch, dict, bool]] = [
        ("float32", plain, {}, True),
        ("bfloat16", plain, {"precision": "bfloat16"}, True),
        ("bfloat16, attention not fused", plain, {"precision": "bfloat16"}, False),
        ("bfloat16, compiled", plain, {"precision": "bfloat16", "compile": True}, True),
        ("bfloat16, compiled, a padded batch", padded, {"precision": "bfloat16", "compile": True}, True),
    ]
    found = [
        (
            "a step of 120 s of audio",
            "ms",
            "beside float32",
            "peak memory, GB",
            "share of the matmul rate",
            "seconds of audio a second",
        )
    ]
    first = 0.0
    for name, speech, how, fused in ways:
        one = measure(preset, Compute.choose(device=device, **how), speech, fused=fused, steps=steps)
        first = first or one.step_seconds
        audio = float(speech.lengths.sum()) * MODEL_PRESETS[preset].shape.frame_seconds
        found.append(
            (
                name,
                f"{1e3 * one.step_seconds:.1f}",
                f"{one.step_seconds / first:.2f}",
                f"{one.peak_bytes / 1e9:.1f}",
                f"{one.flops / one.step_seconds / rate:.2f}",
                f"{audio / one.step_seconds:,.0f}",
            )
        )
    return found


def main() -> None:
    """Measure and write the page beside this file."""
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here (torch.cuda.is_available() is False): nothing was measured or written")
    parameters = sum(p.numel() for p in build_model("paper").parameters())
    text = "\n".join(
        [
            f"# A step of {parameters:,} parameters on {torch.cuda.get_device_name()}",
            "",
            conditions(),
            "",
            table(rows("paper", "cuda")),
        ]
    )
    write(Path(__file__).with_suffix(".md"), text)


if __name__ == "__main__":
    main()
