"""Processes that train one model together: their start and their communication.

One process runs the same code; everything here then costs nothing and changes no bit. Processes communicate
by torch.distributed, over NCCL on GPUs and Gloo on CPUs. `launch` starts them on this machine. `torchrun`
starts them on any number of machines, and `joined` joins its group.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, spawn
from torch.nn.parallel import DistributedDataParallel

from speech.errors import SpeechError

# The other processes wait while the first one evaluates and writes.
_TIMEOUT = timedelta(hours=2)
Thing = TypeVar("Thing")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process: number `rank` of `count`, with its model on `device`.

    Example:
        >>> alone = Processes()
        >>> alone.first, alone.gathered("mine"), alone.of_first(3)
        (True, ['mine'], 3)
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def wrapped(self, model: nn.Module, *, may_skip_layers: bool) -> nn.Module:
        """Return `model` with gradients that are averaged over the processes."""
        if self.count == 1:
            return model
        return DistributedDataParallel(
            model, find_unused_parameters=may_skip_layers, gradient_as_bucket_view=True
        )

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum `tensor`, which is on `device`, over the processes, in place; return it."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def of_first(self, thing: Thing) -> Thing:
        """Return the `thing` of the first process, in all processes."""
        if self.count == 1:
            return thing
        things = [thing]
        dist.broadcast_object_list(things, src=0, device=self.device)
        return things[0]

    def gathered(self, thing: Thing) -> list[Thing]:
        """Return the `thing` of each process, by rank, in all processes."""
        if self.count == 1:
            return [thing]
        things: list[Any] = [None] * self.count
        dist.all_gather_object(things, thing)
        return things


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that `torchrun` started, or run alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    if count == 1:
        yield Processes(device=_device(local_rank))
        return
    with _group(rank, count, local_rank, "env://") as processes:
        yield processes


def launch(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Run `work(processes, *arguments)` in `count` new processes on this machine, and wait for all.

    Raises:
        ValueError: For a count below 1, or above the number of GPUs on a machine with GPUs.
        SpeechError: If a process fails, with the first message; the others are then ended.
    """
    if count < 1:
        raise ValueError(f"--processes {count} must be at least 1.")
    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise ValueError(
            f"--processes {count}: this machine has {torch.cuda.device_count()} GPUs; use one process "
            "for each."
        )
    failures = multiprocessing.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = f"file://{folder}/rendezvous"
        try:
            member = (os.getpid(), count, rendezvous, failures, work, arguments)
            spawn(_member, member, nprocs=count)  # type: ignore[no-untyped-call]
        except ProcessExitedException as error:
            reason = failures.get() if not failures.empty() else str(error)
            raise SpeechError(reason) from None


def _member(
    rank: int,
    parent: int,
    count: int,
    rendezvous: str,
    failures: Any,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    # torch ends this process with its parent, but not if the parent was killed before this process began.
    if os.getppid() != parent:
        sys.exit(1)
    try:
        with _group(rank, count, rank, rendezvous) as processes:
            work(processes, *arguments)
    except (ValueError, OSError) as error:
        failures.put(str(error))
        sys.exit(1)


@contextmanager
def _group(rank: int, count: int, local_rank: int, rendezvous: str) -> Iterator[Processes]:
    device = _device(local_rank)
    backend = "gloo"
    if device.type == "cuda":
        backend = "nccl"
        torch.cuda.set_device(device)
    dist.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=count, timeout=_TIMEOUT)
    try:
        yield Processes(rank=rank, count=count, device=device)
    finally:
        dist.destroy_process_group()


def _device(local_rank: int) -> torch.device:
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
