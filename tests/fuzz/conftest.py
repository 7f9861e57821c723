"""Says at the end what the fuzzing counted."""

import pytest

from tests.fuzz.counts import figures, seed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures:
        terminalreporter.section(f"fuzzing, seed {seed}")
    for target, counts in figures.items():
        told = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
        terminalreporter.write_line(f"{target}: {told}")
