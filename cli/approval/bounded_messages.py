"""What a server may have a node's ClientApp take into memory: bounded before any app is loaded.

`flwr-clientapp` makes objects of a message before it installs and loads the app, so nothing in the app can
bound that (`wire.inflation` says what a message of a megabyte can ask for). Flower has no setting or
hook for it; this replaces three names in the one module that runs a ClientApp:

- `pull_task_input` has the answers of the SuperNode looked at before they are read;
- `pull_and_inflate_object_from_tree`, which it calls, takes no more than the allowance;
- `install_from_fab`, which comes next, raises what was refused: Flower then answers the server with these
  words, and no app is unpacked or loaded.

It must be called in the process that runs the ClientApp, before `run_clientapp`. (The SuperNode is another
process, and keeps all that a server sends until it is fetched: its memory is for the service that runs it to
limit.)
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

INFLATION = Path(__file__).resolve().parents[2] / "wire" / "inflation" / "__init__.py"


def inflation() -> ModuleType:
    """`wire.inflation`, under another name: the app brings a package `strategies` of its own, which
    Python would not load beside this one."""
    name = "murmuration_inflation"
    if name not in sys.modules:
        spec = spec_from_file_location(name, INFLATION)
        if spec is None or spec.loader is None:
            raise ImportError(f"{INFLATION} cannot be loaded")
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def bound_messages(allowance: Any, flower: Any = None) -> None:
    """Let the ClientApp of this process take messages within `allowance` only.

    Args:
        allowance: An `Allowance` of `inflation()`; its `of_model(parameters)` has room for a model of that
            size.
        flower: A module in place of Flower's `flwr.supernode.runtime.run_clientapp`.

    Raises:
        AttributeError: If this Flower has not the three names: then nothing is bounded, and no ClientApp
            should run.
    """
    if flower is None:
        from flwr.supernode.runtime import run_clientapp as flower  # type: ignore[no-redef]
    bounds = inflation()
    limits = bounds.ResponseLimits()
    limits.announcement = allowance.announcement_bytes
    pull_input, install = flower.pull_task_input, flower.install_from_fab
    _ = flower.pull_and_inflate_object_from_tree
    refused: list[Exception] = []

    def pull_task_input(client: Any) -> Any:
        limits.install(client._client)
        return pull_input(client)

    def pull_and_inflate(tree: Any, pull_object: Any, confirm: Any, **_: object) -> Any:
        limits.meter = bounds.Meter(allowance)
        # The SuperNode announces a message before its objects have come: on a slow link, long before.
        root = bounds.pull_within([tree.object_id], pull_object, limits.meter)[tree.object_id]
        try:
            others = bounds.object_ids(tree, allowance)[1:]
            contents = bounds.pull_within(others, pull_object, limits.meter)
            message = bounds.inflate_within(tree.object_id, {tree.object_id: root, **contents}, allowance)
        except bounds.InflationRefused as refusal:
            refused.append(refusal)
            message = bounds.without_content(root)
        confirm(tree.object_id)
        return message

    def install_from_fab(*arguments: Any, **options: Any) -> Any:
        if refused:
            raise refused[0]
        return install(*arguments, **options)

    flower.pull_task_input = pull_task_input
    flower.pull_and_inflate_object_from_tree = pull_and_inflate
    flower.install_from_fab = install_from_fab
