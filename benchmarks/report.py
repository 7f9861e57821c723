"""What every measurement shares: the best of some repeats, the machine, and the page it is written to."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "flwr", "cryptography")


def one_thread() -> None:
    """Ratios are per core; two threads on a busy machine measure its neighbours."""
    torch.set_num_threads(1)


def best_seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """The shortest of some runs after one that warms up: the least disturbed by other processes."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def processor() -> str:
    """The name that the machine gives its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def conditions() -> str:
    """Date, machine and versions, as a page's first lines."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {processor()}, one thread, Python "
        f"{platform.python_version()}\n- {versions}"
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as a Markdown table; the first is the heading."""
    heading, *rest = rows
    lines = [heading, tuple("---" for _ in heading), *rest]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(page: Path, text: str) -> None:
    """Write the page and say where."""
    page.write_text(text + "\n", encoding="utf-8")
    print(text, f"\n-> {page}")
