"""Several processes that train one model: who they are, how they talk, how they are started.

One process is the same code: everything here then costs nothing and changes no bit. The processes talk by
torch.distributed, over NCCL on GPUs and over Gloo on CPUs. `launch` starts them on this machine; `torchrun`
starts them on any number of machines, and `joined` takes part in what it started.
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
from torch.nn.parallel import DistributedDataParallel

from speech.errors import SpeechError

# The others wait while the first evaluates and writes.
_PATIENCE = timedelta(hours=2)
Thing = TypeVar("Thing")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process, number `rank` of `count`, whose model lies on `device`."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def wrapped(self, model: nn.Module, *, may_skip_layers: bool) -> nn.Module:
        """`model`, whose gradients are from now on the means over the processes."""
        if self.count == 1:
            return model
        return DistributedDataParallel(
            model, find_unused_parameters=may_skip_layers, gradient_as_bucket_view=True
        )

    def sum_(self, tensor: Tensor) -> Tensor:
        """`tensor`, on `device`, summed over the processes, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def of_first(self, thing: Thing) -> Thing:
        """The first process's `thing`, in all."""
        if self.count == 1:
            return thing
        things = [thing]
        dist.broadcast_object_list(things, src=0, device=self.device)
        return things[0]

    def gathered(self, thing: Thing) -> list[Thing]:
        """What each process has, by rank, in all."""
        if self.count == 1:
            return [thing]
        things: list[Any] = [None] * self.count
        dist.all_gather_object(things, thing)
        return things


@contextmanager
def joined() -> Iterator[Processes]:
    """This process among those that `torchrun` started, or alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    if count == 1:
        yield Processes(device=_device(local_rank))
        return
    with _group(rank, count, local_rank, "env://") as processes:
        yield processes


def launch(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Run `work(processes, *arguments)` in `count` new processes on this machine until all are done.

    Raises `ValueError` for no process, or for more than there are GPUs where there are some, and
    `SpeechError` with the first message if one of them fails; the others are then ended.
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
        meeting = f"file://{folder}/meeting"
        try:
            member = (os.getpid(), count, meeting, failures, work, arguments)
            multiprocessing.spawn(_member, member, nprocs=count)
        except multiprocessing.ProcessExitedException as error:
            reason = failures.get() if not failures.empty() else str(error)
            raise SpeechError(reason) from None


def _member(
    rank: int,
    parent: int,
    count: int,
    meeting: str,
    failures: Any,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    # torch ends us with our parent, but not if that was killed before we began: then the others never come.
    if os.getppid() != parent:
        sys.exit(1)
    try:
        with _group(rank, count, rank, meeting) as processes:
            work(processes, *arguments)
    except (ValueError, OSError) as error:
        failures.put(str(error))
        sys.exit(1)


@contextmanager
def _group(rank: int, count: int, local_rank: int, meeting: str) -> Iterator[Processes]:
    device = _device(local_rank)
    backend = "gloo"
    if device.type == "cuda":
        backend = "nccl"
        torch.cuda.set_device(device)
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield Processes(rank=rank, count=count, device=device)
    finally:
        dist.destroy_process_group()


def _device(local_rank: int) -> torch.device:
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
