"""The exit statuses of `murmur`; docs/commands.md says what each means, for whoever writes scripts."""

FAILED = 1
"""It was tried and failed, or a check found something."""
REFUSED = 2
"""Nothing was done: an option, setting, file, model or place is wrong. Also click's, for a wrong option."""
INTERRUPTED = 130
"""Ctrl-C; the shells' 128 + SIGINT."""
