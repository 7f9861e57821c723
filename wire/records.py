"""Reading a record out of a message in a way that lets the message go.

Flower's `content.array_records` and `.config_records` are views with a reference back, a cycle that keeps the
whole content in memory until Python's collector happens to run, many replies later: with models of 100 MB
a server of 64 replies then holds gigabytes.
"""

from __future__ import annotations

from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

Record = TypeVar("Record", ArrayRecord, ConfigRecord)


def find_record(content: RecordDict, name: str, kind: type[Record]) -> Record | None:
    """The record of this name and kind, or None."""
    record = content.get(name)
    return record if isinstance(record, kind) else None


def whole_number(value: object) -> int:
    """A whole number of 64 bits, as the wire has them; `ValueError` for anything else.

    Larger ones come only within a process: Python neither prints them nor makes them floats.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError(f"{type(value).__name__} is no whole number of 64 bits")
    return value


def read_record(content: RecordDict, name: str, kind: type[Record]) -> Record:
    """The record of this name and kind; `KeyError` if there is none."""
    record = find_record(content, name, kind)
    if record is None:
        raise KeyError(name)
    return record
