"""A SuperLink whose owner lies: started in place of `flower-superlink`, with the same options.

What it tells the nodes is changed as `lies.json` in $MURMUR_HOME says, which it reads anew for each answer:

    {"run": {"fab_version": "9.9.9", ...}}

Its ServerApp (`hostile_superlink.py serverapp`, in place of `flwr-serverapp`) runs `attack.py` of that
folder, a `main(grid, context)`, whatever the submitted bundle holds: the server's processes are its owner's.
"""

import json
import os
import sys
from pathlib import Path

SERVERAPP = "serverapp"


def home() -> Path:
    """Where its owner says what to do."""
    return Path(os.environ["MURMUR_HOME"])


def superlink() -> None:
    """Flower's SuperLink, with its answers to `GetRun` changed."""
    from flwr.server.superlink.fleet.message_handler import message_handler
    from flwr.superlink.cli import flower_superlink

    get_run = message_handler.get_run

    def lied_run(request, state):
        answer = get_run(request, state)
        for name, value in lies().get("run", {}).items():
            setattr(answer.run, name, value)
        return answer

    message_handler.get_run = lied_run
    flower_superlink()


def lies() -> dict:
    """What is lied about just now."""
    file = home() / "lies.json"
    return json.loads(file.read_text()) if file.exists() else {}


def serverapp() -> None:
    """Flower's process of the ServerApp, which runs what the server's owner likes."""
    from flwr.superlink.cli import flwr_serverapp
    from flwr.superlink.runtime import run_serverapp as package  # the function has its module's name

    module = sys.modules["flwr.superlink.runtime.run_serverapp"]
    assert package is module.run_serverapp

    def attack(grid, context, **_):
        told: dict = {}
        exec((home() / "attack.py").read_text(), told)  # now: a task that is not taken in time is another's
        told["main"](grid, context)
        return context

    module.run_ = attack
    flwr_serverapp()


if __name__ == "__main__":
    if sys.argv[1:2] == [SERVERAPP]:
        del sys.argv[1]
        serverapp()
    else:
        superlink()
