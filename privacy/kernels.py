"""Compiled loops over whole updates: one pass over memory each, all sums of squares in float64.

torch has no operation that scales, rounds, converts, counts and adds at once; several operations, block by
block, take two to three times as long. The machine code is kept for the next process, in the user's cache
folder or in `NUMBA_CACHE_DIR`. Callers must pass one-dimensional arrays of equal length.
"""

import hashlib
import os
import time
from collections.abc import Callable
from functools import cache, wraps
from inspect import unwrap
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(*relaxed: str) -> Callable[[Loop], Loop]:
    """Compile a loop for each combination of dtypes, at the first call with it.

    Args:
        relaxed: in which ways the arithmetic may differ from the code as written. "reassoc": sums are taken
            in any order (which allows vector instructions). Nothing else is relaxed: NaN and infinity keep
            their meaning.
    """

    def decorate(loop: Loop) -> Loop:
        @wraps(loop)
        def call(*arguments: Any) -> Any:
            return _machine_code(loop, relaxed)(*arguments)

        return cast(Loop, call)

    return decorate


def inner(*relaxed: str) -> Callable[[Loop], Loop]:
    """As `compiled`, for what only other compiled loops call; it may be one of `compiled` itself."""
    import numba

    def decorate(loop: Loop) -> Loop:
        return cast(Loop, numba.njit(**_options(relaxed))(unwrap(loop)))

    return decorate


def _options(relaxed: tuple[str, ...]) -> dict[str, Any]:
    return {"error_model": "numpy", "nogil": True, "fastmath": set(relaxed)}


@cache
def _machine_code(loop: Callable[..., Any], relaxed: tuple[str, ...]) -> Callable[..., Any]:
    import numba  # imported here, because many commands never need it

    options = _options(relaxed)
    try:
        return cast(Callable[..., Any], numba.njit(cache=True, **options)(_at_home(loop, str(relaxed))))
    except RuntimeError:  # no folder can keep the machine code: each process compiles
        return cast(Callable[..., Any], numba.njit(**options)(loop))


def _at_home(loop: Callable[..., Any], relaxed: str) -> Callable[..., Any]:
    """`loop`, as if its source file were a copy whose path depends only on what is compiled.

    numba keeps machine code by the path and the time of the source file. Flower makes a fresh copy of the app
    for every local run, so each run would compile everything again. numba also ignores the options,
    `relaxed`, this file, and the modules whose constants and functions are compiled in: loops may use those
    of their own folder. If no copy can be written, the result is `loop` itself.
    """
    code = loop.__code__
    try:
        home = _home_of(Path(code.co_filename), relaxed)
    except (OSError, RuntimeError):  # it cannot be written, or the user has no home folder
        return loop
    moved = FunctionType(code.replace(co_filename=str(home)), loop.__globals__, loop.__name__)
    moved.__qualname__ = loop.__qualname__
    return moved


def _home_of(source: Path, relaxed: str) -> Path:
    content = source.read_bytes()
    compiled_from = hashlib.sha256(relaxed.encode() + Path(__file__).read_bytes() + _sources(source.parent))
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kernels = os.environ.get("NUMBA_CACHE_DIR") or Path(caches, "murmuration", "kernels")
    home = Path(kernels, compiled_from.hexdigest()[:16], source.name)
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        unfinished = home.with_name(f"{home.name}.{os.getpid()}.{time.monotonic_ns()}")
        unfinished.write_bytes(content)
        os.utime(unfinished, (0, 0))  # numba reads the time, and it must not matter which process was first
        unfinished.replace(home)
    return home


@cache
def _sources(folder: Path) -> bytes:
    """Names and contents of the modules in a folder, as a digest."""
    found = hashlib.sha256()
    for module in sorted(folder.glob("*.py")):
        found.update(module.name.encode() + b"\0" + module.read_bytes())
    return found.digest()


@compiled("reassoc")
def squared_norm(values: npt.NDArray[Any]) -> float:
    """The sum of squares of real values (n,), in float64; not finite if an entry is not."""
    squared = 0.0
    for index in range(values.size):
        value = np.float64(values[index])
        squared += value * value
    return squared


@compiled("reassoc")
def squared_norms_(values: npt.NDArray[Any], offsets: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
    """out[i] = `squared_norm` of the slice of `values` from offsets[i] to offsets[i + 1]."""
    for piece in range(out.size):
        squared, taken = 0.0, values[offsets[piece] : offsets[piece + 1]]
        for index in range(taken.size):
            value = np.float64(taken[index])
            squared += value * value
        out[piece] = squared


def load_compiler() -> None:
    """Load numba now, which takes a second; otherwise the first loop of a process waits for it."""
    squared_norm(np.zeros(1, dtype=np.float32))


@compiled("reassoc")
def add_rounded_(
    sums: npt.NDArray[Any],
    values: npt.NDArray[Any],
    offsets: npt.NDArray[np.int64],
    factors: npt.NDArray[np.float64],
    squared: npt.NDArray[np.float64],
) -> None:
    """sums += round(values * factor), in place, with a factor for each slice.

    A call with ``-factors`` subtracts exactly what a call with ``factors`` added.

    Args:
        sums: int32 or int64, shape (n,).
        values: float32 or float64, shape (n,); every |value * factor| must be below 2**31.
        offsets: where slices begin, and the end of the last, shape (P + 1,).
        factors: the number of steps per unit of a slice's values, shape (P,).
        squared: takes the sum of squares of what was added to a slice, shape (P,); exact below 2**53.
    """
    for piece in range(factors.size):
        factor, total = factors[piece], 0.0
        taken = values[offsets[piece] : offsets[piece + 1]]
        added = sums[offsets[piece] : offsets[piece + 1]]
        for index in range(taken.size):
            steps = np.rint(np.float64(taken[index]) * factor)
            total += steps * steps
            added[index] += np.int32(steps)
        squared[piece] = total


@compiled()
def scale_into_(out: npt.NDArray[np.float32], integers: npt.NDArray[Any], factor: float) -> None:
    """out = integers * factor, the product in float64; the two arrays must not share memory."""
    for index in range(integers.size):
        out[index] = np.float64(integers[index]) * factor


@compiled("reassoc")
def add_(sums: npt.NDArray[Any], others: npt.NDArray[Any]) -> float:
    """sums += others, in place, for int32 and int64 in any combination.

    Returns:
        The sum of squares of the others, in float64.
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
