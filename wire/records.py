"""Read a record of a message without keeping the message in memory.

Flower's `content.array_records` and `.config_records` are views that refer back to the content. This cycle
keeps the whole content in memory until Python's collector runs, many replies later: with models of 100 MB, a
server with 64 replies then holds gigabytes.
"""

from __future__ import annotations

from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

Record = TypeVar("Record", ArrayRecord, ConfigRecord)


def find_record(content: RecordDict, name: str, kind: type[Record]) -> Record | None:
    """The record with this name and kind, or None."""
    record = content.get(name)
    return record if isinstance(record, kind) else None


def whole_number(value: object) -> int:
    """Return `value` if it is a whole number of 64 bits, as in Flower's messages.

    Larger ones can come only from within the process, in a simulation. Python neither prints them nor
    converts them to floats.

    Raises:
        ValueError: For anything else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError(f"{type(value).__name__} is no whole number of 64 bits")
    return value


def read_record(content: RecordDict, name: str, kind: type[Record]) -> Record:
    """The record with this name and kind.

    Raises:
        KeyError: If there is none.
    """
    record = find_record(content, name, kind)
    if record is None:
        raise KeyError(name)
    return record
