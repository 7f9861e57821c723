"""Turns a run folder into one that an earlier release would have left."""

import json
import re
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from privacy import read_ledger
from privacy.ledger.ledger import head_of
from recipes.earlier_keys import PRESENT_KEYS
from server.storage.run_folder import EARLIER_NAMES, RunFolder
from tests.server.in_process import run_of_folder


def as_before_ids(folder: Path) -> None:
    """The run is known by its folder's name; no file has an id or a lineage, and keys have old names."""
    run, ledger = run_of_folder(folder), (folder / "ledger.jsonl").resolve()
    heads, entries = {"0" * 64: "0" * 64}, []
    for entry in read_ledger(ledger):
        before = head_of([entry])
        entry = replace(entry, run=folder.name if entry.run == run else entry.run, previous=head_of(entries))
        entries.append(entry)
        heads[before] = head_of(entries)
    ledger.write_bytes(b"".join(entry.line() + b"\n" for entry in entries))
    ledger.with_suffix(".head").unlink(missing_ok=True)

    def without_ids(metadata):
        for new in ("run", "lineage"):
            metadata.pop(new, None)
        if "ledger_head" in metadata:
            metadata |= {
                "format": "murmuration-federation-2",
                "ledger_head": heads[metadata["ledger_head"]],
            }
        return metadata

    _change_metadata(folder, without_ids)
    as_before_renames(folder)
    assert not RunFolder(folder).path.is_symlink()


def as_before_renames(folder: Path) -> None:
    """Recipe, checkpoints and evaluation.json have the keys of the release before they were renamed."""
    old_keys = {new: old for old, new in PRESENT_KEYS.items()}

    def with_old_keys(metadata):
        if "identity" in metadata:
            identity = json.loads(metadata["identity"])
            identity["recipe"] = {old_keys.get(key, key): value for key, value in identity["recipe"].items()}
            metadata["identity"] = json.dumps(identity, sort_keys=True)
        return metadata

    _change_metadata(folder, with_old_keys)
    for file, names in (
        ("config.toml", {new.split(".")[1]: old.split(".")[1] for new, old in old_keys.items()}),
        ("evaluation.json", {new: old for old, new in EARLIER_NAMES.items()}),
    ):
        if (path := folder / file).exists():
            text = path.read_text()
            for new, old in names.items():
                key = re.compile(rf'^(\s*"?){new}("?(?: =|:))', re.MULTILINE)  # of TOML or JSON
                assert key.search(text)
                text = key.sub(rf"\1{old}\2", text)
            path.write_text(text)


def _change_metadata(folder: Path, change) -> None:
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            metadata = change(dict(file.metadata()))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(tensors, path, metadata)
