"""What can go wrong with a promise of privacy: one small tree, so that a caller may catch all of it.

A wrong *value* (a negative noise multiplier, a rate above one) is a plain ``ValueError``, raised when the
object that would hold it is made. The errors here are about a run in progress.
"""


class PrivacyError(Exception):
    """Base of every error that stops a private run or drops a part of it."""


class BudgetExhausted(PrivacyError):
    """The next release would pass the epsilon budget; the run must stop before it."""


class LedgerCorrupt(PrivacyError):
    """The ledger's file is not the unbroken chain of entries that this software wrote."""


class LedgerInUse(PrivacyError):
    """Another process holds the ledger open for writing."""


class SpendingUnknown(PrivacyError):
    """What was spent to make a model is in no ledger that was found, so that no epsilon can be told."""


class ReplyRejected(PrivacyError, ValueError):
    """A reply cannot come from clients that obeyed the clip bounds; it is dropped whole."""
