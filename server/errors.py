"""What ends a run, or keeps it from starting, by a fault that a person can mend."""

from __future__ import annotations


class RegistrationError(RuntimeError):
    """Too few nodes, or nodes that cannot take part; the message says which and why."""


class ResumeRefused(RuntimeError):
    """A run cannot be resumed as asked; the message names every difference and the remedy."""
