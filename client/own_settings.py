"""Faults of what a node's owner wrote into --node-config, and what of them may leave the node.

A value there can be a path of the owner's disk, or anything else that a slip of the keyboard put there. The
server is told which setting it is and what to do; the node's own log, and `murmur doctor` on the node, have
the value too.
"""

from __future__ import annotations

from recipes import ConfigError


class OwnSettingError(ConfigError):
    """A setting of the node's own has a value that cannot be used.

    Its text quotes the value, and is for this node. `told` is for the server.

    Args:
        setting, value: What stands in --node-config.
        fault (str): What is wrong and what to do, without the value.
    """

    def __init__(self, setting: str, value: object, fault: str) -> None:
        super().__init__(f"--node-config {setting}={value!r}: {fault}")
        self.told = f"--node-config {setting}: {fault} (the node's own log has the value)"
