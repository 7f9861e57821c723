"""Guarantees: one process at a time writes a ledger, and it writes to the file that the path names."""

import fcntl
import os
from pathlib import Path

from privacy.errors import LedgerInUse


def lock(descriptor: int, path: Path) -> None:
    """Lock a ledger until the descriptor is closed. The end of the process closes it too, also after a crash.

    Raises:
        LedgerInUse: if another descriptor holds the lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LedgerInUse(f"Another run is writing to the ledger {path}; wait until it ends.") from error


def require_named(descriptor: int, path: Path) -> None:
    """Check that the path still names the file of the descriptor.

    Raises:
        OSError: if the file was moved, replaced or deleted.
    """
    if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise OSError(
            f"The ledger {path} was moved, replaced or deleted while it was in use: no later run would find "
            f"the entries that were written since then. Bring the file back, then resume the run."
        )
