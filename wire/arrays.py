"""Arrays in Flower's records, in numpy's format 1.0, without the copies that Flower's own functions make."""

from __future__ import annotations

import math
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array

NUMPY = "numpy.ndarray"  # Flower's name of the format
PREFIX_BYTES = 10  # the magic, the version and the header's length


def array_view(array: Array) -> npt.NDArray[Any]:
    """The array as a read-only view of its record's memory; Flower's `Array.numpy` copies it.

    Raises:
        ValueError: If the bytes are not of numpy's format 1.0, or are too few.
    """
    begin = bytes(memoryview(array.data)[:PREFIX_BYTES])
    if (version := np.lib.format.read_magic(BytesIO(begin))) != (1, 0):
        raise ValueError(f"an array of numpy's format {version}; Flower writes (1, 0)")
    offset = PREFIX_BYTES + int.from_bytes(begin[-2:], "little")
    shape, dtype = _read_header(bytes(memoryview(array.data)[:offset]))
    return np.frombuffer(array.data, dtype, count=math.prod(shape), offset=offset).reshape(shape)


@lru_cache(maxsize=64)
def _read_header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type from a header of numpy's format 1.0. Replies of a round have the same one."""
    stream = BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return shape, dtype


def as_array(numbers: npt.NDArray[Any]) -> Array:
    """What Flower's `Array(numbers)` makes of a vector (n,), with one copy of it instead of three."""
    data = b"".join((_written_header(numbers.dtype, numbers.shape), np.ascontiguousarray(numbers).data))
    return Array(dtype=str(numbers.dtype), shape=numbers.shape, stype=NUMPY, data=data)


@lru_cache(maxsize=64)
def _written_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = BytesIO()
    told = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, told)
    return stream.getvalue()
