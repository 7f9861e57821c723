"""What travels in a round and what packing makes of it: `python -m benchmarks.traffic`.

Sums of clipped updates of real speakers (the default recipe from the embedded seed) and Gaussian ones of 25 M
values: our packing beside general compressors on byte planes, whose length depends on what was said, and
beside the entropy of the values. Then the model on its way down, as float32 and compressed without loss.
"""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import best_seconds, conditions, one_thread, table, write
from cli.composing import default_config
from client.node import Node
from privacy import ClipBounds, LayerLayout, Quantiser, pack, packed_bytes, unpack
from recipes import RunConfig
from server.factory import make_bounds, starting_model
from speech.model.ctc_transformer import build_model
from strategies import bind
from wire.messages import Task

VALUES, BLOCK = 25_000_000, 1 << 15
Compress = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def compressors(folder: str) -> dict[str, Compress]:
    """General compressors by name; zstandard is no dependency of ours, it is installed for this page."""
    found: dict[str, Compress] = {"zlib, level 1": (lambda data: zlib.compress(data, 1), zlib.decompress)}
    install = ("-m", "pip", "install", "--no-deps", "--target", folder, "zstandard==0.25.0")
    if not subprocess.run([sys.executable, *install], check=False, capture_output=True).returncode:
        sys.path.insert(0, folder)
        zstd = importlib.import_module("zstandard")
        found["zstandard, level 1"] = (zstd.ZstdCompressor(1).compress, zstd.ZstdDecompressor().decompress)
    return found


def planes(numbers: np.ndarray) -> list[bytes]:
    """The values of a block folded to whole numbers from 0, one string for each of their lowest bytes."""
    folded = ((numbers << 1) ^ (numbers >> 31)).view(np.uint32)
    width = max(1, (int(folded.max()).bit_length() + 7) // 8)
    return [(folded >> (8 * byte)).astype(np.uint8).tobytes() for byte in range(width)]


def joined(parts: list[bytes], size: int) -> np.ndarray:
    """The inverse of `planes`."""
    folded = np.zeros(size, np.uint32)
    for byte, part in enumerate(parts):
        folded |= np.frombuffer(part, np.uint8).astype(np.uint32) << (8 * byte)
    return ((folded >> 1) ^ -(folded & 1)).view(np.int32)


def real_sums() -> dict[str, tuple[torch.Tensor, int, ClipBounds, Quantiser]]:
    """Sums over speakers of the embedded corpus in their first round."""
    config = RunConfig.from_flat(default_config())
    layout, vector = bind(starting_model(config.model, config.corpus.language))
    bounds, quantiser = make_bounds(config.privacy, layout)
    node = Node.of(config, {"partition-id": 0, "num-partitions": 8})
    sums = {}
    for count in (1, 6, len(node.speakers)):
        speakers = tuple(range(count))
        task = Task(
            round_number=1,
            nonce="",
            layout=layout.digest,
            speakers=speakers,
            bounds=bounds,
            quantiser=quantiser,
        )
        node.load(task, vector)
        total, _ = node.train(task, node.speakers)
        sums[f"`tiny`, {count} real speaker(s)"] = (total, count, bounds, quantiser)
    return sums


def gaussian_sum(count: int) -> tuple[torch.Tensor, int, ClipBounds, Quantiser]:
    """A sum of independent updates at their bounds."""
    bounds = ClipBounds.of("dim", 1.0, LayerLayout.of({f"l{i}": (VALUES // 50,) for i in range(50)}))
    quantiser = Quantiser.of(bounds)
    std = math.sqrt(count) * 2**quantiser.bits / math.sqrt(bounds.size)
    values = torch.randn(bounds.size, generator=torch.Generator().manual_seed(0)).mul_(0.999 * std)
    return values.round_().to(torch.int32), count, bounds, quantiser


def entropy(values: np.ndarray) -> float:
    """Bits per value of the values' own histogram: what a code that knows it needs."""
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def sums_table(others: dict[str, Compress]) -> str:
    """One row for each sum and code."""
    rows = [("sum", "code", "bits a value", "of int32", "there, of a plain add", "back", "length is public")]
    gaussians = {f"25 M Gaussian, {count} update(s)": gaussian_sum(count) for count in (1, 8)}
    for name, (total, count, bounds, quantiser) in {**real_sums(), **gaussians}.items():
        numbers, size = total.numpy(), total.numel()
        blocks = np.split(numbers, range(BLOCK, size, BLOCK))
        packed = pack(total, count, bounds, quantiser)
        into = torch.zeros_like(total)
        codes: dict[str, tuple[int, Callable[[], object], Callable[[], object]]] = {
            "ours": (
                packed_bytes(count, bounds, quantiser),
                lambda t=total, c=count, b=bounds, g=quantiser: pack(t, c, b, g),
                lambda p=packed, c=count, b=bounds, g=quantiser: unpack(p, c, b, g),
            )
        }
        for code, (there, back) in {"byte planes alone": (bytes, bytes), **others}.items():
            parts = [[there(plane) for plane in planes(block)] for block in blocks]
            codes[code] = (
                sum(len(part) for block in parts for part in block),
                lambda c=there, bs=blocks: [[c(plane) for plane in planes(block)] for block in bs],
                lambda d=back, ps=parts, bs=blocks: [
                    joined([d(part) for part in one], len(block)) for one, block in zip(ps, bs, strict=True)
                ],
            )
        works = {"plain": lambda a=into, t=total: a.add_(t)}
        for code, (_, there, back) in codes.items():
            works |= {f"{code} there": there, f"{code} back": back}
        best = best_seconds(works, 3, time.process_time)
        rows.append((name, "entropy of the values", f"{entropy(numbers):.2f}", "", "", "", ""))
        for code, (length, _, _) in codes.items():
            speeds = [f"{best['plain'] / best[f'{code} {way}']:.2f}" for way in ("there", "back")]
            public = "yes" if code == "ours" else "no"
            rows.append((name, code, f"{8 * length / size:.2f}", f"{length / size / 4:.3f}", *speeds, public))
    return table(rows)


def models_table(others: dict[str, Compress]) -> str:
    """What general compressors make of the byte planes of float32 models."""
    config = RunConfig.from_flat(default_config())
    models = {
        "`tiny`, the embedded seed": starting_model(config.model, config.corpus.language),
        "`small`, random": build_model("small"),
    }
    rows = [("model", "code", "of float32", "there, of a plain add", "back")]
    for name, model in models.items():
        vector = bind(model)[1].detach()
        size = vector.numel()
        parts = [part.tobytes() for part in vector.numpy().view(np.uint8).reshape(-1, 4).T]
        for code, (there, back) in others.items():
            small = [there(part) for part in parts]
            works = {
                "plain": lambda v=vector: v.add_(0.0),
                "there": lambda c=there, ps=parts: [c(part) for part in ps],
                "back": lambda d=back, ps=small: [d(part) for part in ps],
            }
            best = best_seconds(works, 3, time.process_time)
            speeds = [f"{best['plain'] / best[way]:.3f}" for way in ("there", "back")]
            rows.append((name, code, f"{sum(map(len, small)) / size / 4:.3f}", *speeds))
    return table(rows)


NOTES = """The columns "there" and "back" are the processor time of an in-place add of the same values in the
same run over the code's (1: as fast). The length of ours is a function of the clip bounds and the number of
speakers: it may be published, and seen on the network. That of a compressor is a function of the speech. For
a single speaker, clipped at its bounds, this costs about a bit a value; for many speakers on a node more, as
their sum could be as long as all of them in one direction and never is.

A model goes down as float32: it is pushed once for all nodes, a sixth is all that could be saved without
loss, and packing it would take longer than a network of gigabits takes to carry that."""


def main() -> None:
    """Measure and write the page."""
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        others = compressors(folder)
        parts = ["# Bytes of a round", conditions(), "## Sums on their way up", sums_table(others)]
        parts += ["## The model on its way down", models_table(others), NOTES]
        write(Path(__file__).with_suffix(".md"), "\n\n".join(parts))


if __name__ == "__main__":
    sys.exit(main())
