"""The folder of a node's own records, which outlive a message, a run and a restart.

`node-state="/path"` in the SuperNode's --node-config names it. The default is `node` in `home()`, which a
deployment sets by MURMUR_HOME. Nothing in it is ever sent, and only the user that runs the ClientApp may
enter it (mode 0700).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from client.own_settings import OwnSettingError
from recipes import home, resolve

KEY = "node-state"
_DEFAULT = "node"


def node_state_path(node_config: Mapping[str, Any]) -> Path:
    """The folder of a node with this configuration; it is not created."""
    named = str(node_config.get(KEY, ""))
    return resolve(named) if named else home() / _DEFAULT


def node_state(node_config: Mapping[str, Any]) -> Path:
    """The same folder, created if it does not exist.

    Raises:
        OwnSettingError: If it cannot be made, or others may enter it.
    """
    folder = node_state_path(node_config)
    try:
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if fresh and os.geteuid() == 0:  # for the owner of `home()`, and not for root alone
            owner = folder.parent.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
        mode = folder.stat().st_mode
    except OSError as error:
        remedy = "name one that the user of the ClientApp may write"
        fault = f"the folder cannot be made ({error.strerror}); {remedy}"
        raise OwnSettingError(KEY, str(folder), fault) from None
    if mode & 0o077:
        fault = "others may enter the folder; `chmod 700` it, or name another"
        raise OwnSettingError(KEY, str(folder), fault)
    return folder
