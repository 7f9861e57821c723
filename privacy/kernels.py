"""The loops over whole updates, compiled: one pass over memory each, everything counted in float64.

torch has no operation that scales, rounds, converts, counts and adds at once; by several, in blocks, that
costs two to three times as much. The machine code is kept for the next process, in the user's
cache folder or where `NUMBA_CACHE_DIR` says. Callers see that arrays are one-dimensional and of equal length.
"""

import hashlib
import os
import time
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(*relaxed: str) -> Callable[[Loop], Loop]:
    """Machine code for each combination of dtypes that a loop is called with, made at the first such call.

    Args:
        relaxed: what may differ from the arithmetic as written. "reassoc": sums are taken in any order (which
            is what lets them use vector instructions). Nothing else is relaxed: NaN and infinity stay what
            they are.
    """

    def decorate(loop: Loop) -> Loop:
        @wraps(loop)
        def call(*arguments: Any) -> Any:
            return _machine_code(loop, relaxed)(*arguments)

        return cast(Loop, call)

    return decorate


@cache
def _machine_code(loop: Callable[..., Any], relaxed: tuple[str, ...]) -> Callable[..., Any]:
    import numba  # here, since many a command never comes here

    options = {"error_model": "numpy", "nogil": True, "fastmath": set(relaxed)}
    try:
        return cast(Callable[..., Any], numba.njit(cache=True, **options)(_at_home(loop, str(relaxed))))
    except RuntimeError:  # there is no place to keep it: compiled by each process
        return cast(Callable[..., Any], numba.njit(**options)(loop))


def _at_home(loop: Callable[..., Any], relaxed: str) -> Callable[..., Any]:
    """`loop`, as if it stood in a copy of its file whose place follows from what it is compiled from alone.

    numba keeps machine code by the path and the time of the source, and Flower makes a fresh copy of the app
    for every local run: each of them would compile everything again. Nor does it look at the options: what
    is `relaxed`, and this file. Where there is no place for a copy, `loop` itself.
    """
    code = loop.__code__
    try:
        home = _home_of(Path(code.co_filename), relaxed)
    except (OSError, RuntimeError):  # it cannot be written, or nobody's home is known
        return loop
    moved = FunctionType(code.replace(co_filename=str(home)), loop.__globals__, loop.__name__)
    moved.__qualname__ = loop.__qualname__
    return moved


def _home_of(source: Path, relaxed: str) -> Path:
    content = source.read_bytes()
    compiled_from = hashlib.sha256(relaxed.encode() + Path(__file__).read_bytes() + content)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kernels = os.environ.get("NUMBA_CACHE_DIR") or Path(caches, "murmuration", "kernels")
    home = Path(kernels, compiled_from.hexdigest()[:16], source.name)
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        unfinished = home.with_name(f"{home.name}.{os.getpid()}.{time.monotonic_ns()}")
        unfinished.write_bytes(content)
        os.utime(unfinished, (0, 0))  # numba looks at the time, and it must not matter who was the first
        unfinished.replace(home)
    return home


@compiled("reassoc")
def squared_norm(values: npt.NDArray[Any]) -> float:
    """The sum of squares of real values (n,), in float64; not finite if an entry is not."""
    squared = 0.0
    for index in range(values.size):
        value = np.float64(values[index])
        squared += value * value
    return squared


def load_compiler() -> None:
    """What the first loop of a process would wait for: numba takes a second to get going."""
    squared_norm(np.zeros(1, dtype=np.float32))


@compiled("reassoc")
def add_rounded_(sums: npt.NDArray[Any], values: npt.NDArray[Any], factor: float) -> float:
    """sums += round(values * factor), in place; returns the sum of squares of what was added.

    With ``-factor`` it takes back exactly what it added. The returned sum is exact below 2**53.

    Args:
        sums: int32 or int64, shape (n,).
        values: float32 or float64, shape (n,); every |value * factor| must be below 2**31.
    """
    squared = 0.0
    for index in range(values.size):
        steps = np.rint(np.float64(values[index]) * factor)
        squared += steps * steps
        sums[index] += np.int32(steps)
    return squared


@compiled()
def scale_into_(out: npt.NDArray[np.float32], integers: npt.NDArray[Any], factor: float) -> None:
    """out = integers * factor, the product in float64; the two may not share memory."""
    for index in range(integers.size):
        out[index] = np.float64(integers[index]) * factor


@compiled("reassoc")
def add_(sums: npt.NDArray[Any], others: npt.NDArray[Any]) -> float:
    """sums += others, in place, for integers of which either may be the longer type.

    Returns the sum of squares of the others, in float64.
    """
    squared = 0.0
    for index in range(sums.size):
        value = np.float64(others[index])
        squared += value * value
        sums[index] += others[index]
    return squared


@compiled()
def take_back_(sums: npt.NDArray[Any], others: npt.NDArray[Any]) -> None:
    """Undo `add_`, to the bit: integers wrap around."""
    for index in range(sums.size):
        sums[index] -= others[index]
