"""What a worker gets in one call: messages with their contexts, and beside them the large arrays, each once.

All tasks of a round have the same model. It is put into Ray's object store once, and every worker of a Ray
node reads it there, in place.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import ray

LEAST_BYTES = 100_000  # of an array that goes into the object store; smaller ones travel with their message
MOST_KEPT = 4  # arrays: a model, and control variates, of two rounds

Reference = Any  # Ray's, to an object in its store


class SharedArrays:
    """Bytes in Ray's object store, each put there once.

    They are told apart by their place in memory, so they are kept: the newest `MOST_KEPT` of them, until
    `forget`. (While a late node of each round is still at work, no moment would be one to forget them.)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[bytes, Reference]] = {}

    def reference(self, array: bytes) -> Reference:
        """Ray's reference to these bytes."""
        with self._lock:
            if id(array) not in self._known:
                if len(self._known) == MOST_KEPT:
                    del self._known[next(iter(self._known))]
                self._known[id(array)] = array, ray.put(np.frombuffer(array, np.uint8))
            return self._known[id(array)][1]

    def forget(self) -> None:
        """Let go of all of them."""
        with self._lock:
            self._known.clear()


def packed(things: object, reference: Callable[[bytes], Reference]) -> tuple[bytes, list[Reference]]:
    """Pickle `things`, except for large arrays of bytes, of which `reference` gives the references."""
    file, apart = BytesIO(), _Apart(reference)
    _Packer(file, apart).dump(things)
    return file.getvalue(), apart.references


def unpacked(parcel: bytes, arrays: Sequence[memoryview]) -> Any:
    """The inverse of `packed`; `arrays` is what lies at the references, and is read in place."""
    return _Unpacker(BytesIO(parcel), arrays).load()


class _Apart:
    """The large arrays of a parcel by their numbers in it."""

    def __init__(self, reference: Callable[[bytes], Reference]) -> None:
        self._reference = reference
        self._numbers: dict[int, int] = {}
        self.references: list[Reference] = []

    def number(self, array: bytes) -> int:
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.references)
            self.references.append(self._reference(array))
        return self._numbers[id(array)]


class _Packer(pickle.Pickler):
    def __init__(self, file: BytesIO, apart: _Apart) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._apart = apart

    def persistent_id(self, thing: Any) -> int | None:
        large = type(thing) is bytes and len(thing) >= LEAST_BYTES
        return self._apart.number(thing) if large else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: BytesIO, arrays: Sequence[memoryview]) -> None:
        super().__init__(file)
        self._arrays = arrays

    def persistent_load(self, number: Any) -> memoryview:
        array: memoryview = self._arrays[number]
        return array
