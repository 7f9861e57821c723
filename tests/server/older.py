"""Makes of a run folder what the release before runs had ids would have left."""

from dataclasses import replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from privacy import read_ledger
from privacy.ledger.ledger import head_of
from server.storage.run_folder import RunFolder
from tests.server.in_process import run_of_folder


def as_before_ids(folder: Path) -> None:
    """The run is known by its folder's name; no file has an id or a lineage."""
    run, ledger = run_of_folder(folder), (folder / "ledger.jsonl").resolve()
    heads, entries = {"0" * 64: "0" * 64}, []
    for entry in read_ledger(ledger):
        before = head_of([entry])
        entry = replace(entry, run=folder.name if entry.run == run else entry.run, previous=head_of(entries))
        entries.append(entry)
        heads[before] = head_of(entries)
    ledger.write_bytes(b"".join(entry.line() + b"\n" for entry in entries))
    ledger.with_suffix(".head").unlink(missing_ok=True)
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for new in ("run", "lineage"):
            metadata.pop(new, None)
        if "ledger_head" in metadata:
            metadata |= {
                "format": "murmuration-federation-2",
                "ledger_head": heads[metadata["ledger_head"]],
            }
        save_file(tensors, path, metadata)
    assert not RunFolder(folder).path.is_symlink()
