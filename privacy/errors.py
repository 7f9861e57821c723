"""The errors of a private run: one small tree, so that a caller can catch all of them.

A wrong *value* (a negative noise multiplier, a rate above one) is a plain ``ValueError``. It is raised when
the object that would hold the value is made. The errors here are about a run in progress.
"""


class PrivacyError(Exception):
    """Base of every error that stops a private run or drops a part of it.

    Example:
        >>> try:
        ...     raise BudgetExhausted("the budget is spent")
        ... except PrivacyError as error:
        ...     print(error)
        the budget is spent
    """


class BudgetExhausted(PrivacyError):
    """The next release would exceed the epsilon budget. The run must stop before it.

    Example:
        >>> from privacy.plan import PrivacyPlan
        >>> plan = PrivacyPlan(population=100, cohort=10, rounds=1, noise_multiplier=1, delta=1e-5,
        ...     epsilon_budget=0.1)
        >>> plan.require_budget(own=(), others=[plan.release])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        privacy.errors.BudgetExhausted: The budget is epsilon=0.1 at delta=1e-05. Other releases ...
    """


class UnaccountedMechanism(PrivacyError):
    """A mechanism declares no accounting event, or another one than the plan's. It may release nothing.

    Example:
        >>> from privacy.noise.factory import require_accounted
        >>> from privacy.plan import PrivacyPlan
        >>> plan = PrivacyPlan(population=100, cohort=10, rounds=1, noise_multiplier=1, delta=1e-5)
        >>> require_accounted(plan, object())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        privacy.errors.UnaccountedMechanism: object declares None as its accounting event, ...
    """


class LedgerCorrupt(PrivacyError):
    """The ledger's file is not the unbroken chain of entries that this software wrote.

    Example:
        >>> from pathlib import Path
        >>> from privacy.ledger.entries import entries_in
        >>> entries_in(b'{"sequence": 1}', Path("ledger.jsonl"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        privacy.errors.LedgerCorrupt: ledger.jsonl, line 1 is not an entry ...
    """


class LedgerInUse(PrivacyError):
    """Another process has the ledger open for writing.

    Example:
        >>> import tempfile
        >>> from privacy.ledger.ledger import Ledger
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Ledger.open(f"{folder}/ledger.jsonl") as first:
        ...         Ledger.open(f"{folder}/ledger.jsonl")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        privacy.errors.LedgerInUse: Another run is writing to the ledger ...
    """


class SpendingUnknown(PrivacyError):
    """No ledger was found that holds the spending behind a model. Its epsilon cannot be stated.

    Example:
        >>> issubclass(SpendingUnknown, PrivacyError)
        True
    """


class ReplyRejected(PrivacyError, ValueError):
    """A reply cannot come from clients that obeyed the clip bounds. The whole reply is dropped.

    Example:
        >>> import torch
        >>> from privacy import ClipBounds, Quantiser, add_checked_
        >>> bounds = ClipBounds(offsets=(0, 2), bounds=(1.0,))
        >>> total, too_long = torch.zeros(2, dtype=torch.int32), torch.tensor([2**20, 2**20]).int()
        >>> add_checked_(total, too_long, 1, bounds, Quantiser.of(bounds))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        privacy.errors.ReplyRejected: Coordinates 0 to 1 of the sum (slice 0 of 1) have norm 1.41421, ...
    """
