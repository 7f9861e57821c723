"""One process writes a ledger at a time, and it writes to the file that the path names."""

import fcntl
import os
from pathlib import Path

from privacy.errors import LedgerInUse


def lock(descriptor: int, path: Path) -> None:
    """Keep others out until the descriptor is closed; the end of the process, however sudden, closes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LedgerInUse(f"Another run is writing to the ledger {path}; wait until it ends.") from error


def require_named(descriptor: int, path: Path) -> None:
    """Raise `OSError` unless the path still names the file behind the descriptor."""
    if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise OSError(
            f"The ledger {path} was moved, replaced or deleted while it was in use: what was written since "
            f"then is in no ledger that a run would find. Bring the file back, then resume the run."
        )
