"""Errors that end a run, or keep it from starting, and that its organiser can mend."""

from __future__ import annotations


class RegistrationError(RuntimeError):
    """Too few nodes, or nodes that cannot take part; the message names them and the reason."""


class ResumeRefused(RuntimeError):
    """A run cannot be resumed as asked; the message names every difference and the remedy."""
