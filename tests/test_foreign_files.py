"""No room opens a file, or a message, with what would run code that its writer chose."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("audit", "cli", "client", "privacy", "recipes", "server", "speech", "strategies")
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_YAML = {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}

ALLOWED = {
    ("speech/export/writer.py", "torch.export.load"): "the file that export_model wrote a line before",
    ("speech/export/writer.py", "torch.jit.load"): "the file that export_model wrote a line before",
    (
        "client/training/process_loop.py",
        "orders.recv",
    ): "in the child: what its parent, which forked it, sends",
    (
        "client/simulation/parcels.py",
        "pickle",
    ): "in a simulation's worker: what Ray, which started it, brings",
}
"""Each with its reason: who wrote what is read there."""


def dotted(node):
    """`a.b.c` of a call's function, or the last name of what is no plain name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def true(call, name):
    """Whether a keyword argument is there and not literally False."""
    found = [one.value for one in call.keywords if one.arg == name]
    return bool(found) and not (isinstance(found[0], ast.Constant) and not found[0].value)


def faults(source):
    """Calls and imports by which a file or a message could run code, as (line, what)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [one.name for one in node.names] + [getattr(node, "module", None) or ""]
            yield from ((node.lineno, name) for name in names if name.partition(".")[0] in MODULES)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in (
            "torch",
            "numpy",
            "yaml",
        ):
            loaded = [one.name for one in node.names if one.name in {"load", *UNSAFE_YAML}]
            yield from ((node.lineno, f"{node.module}.{name}") for name in loaded)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        room, _, last = name.rpartition(".")
        if last in ("eval", "exec") and not room:
            yield node.lineno, name
        if room.partition(".")[0] == "torch" and last in ("load", "import_ir_module"):
            yield node.lineno, name
        if room.rpartition(".")[2] in ("jit", "export", "package") and last == "load":
            yield node.lineno, name
        if room == "yaml" and last in UNSAFE_YAML:
            yield node.lineno, name
        if last in ("recv", "get_object") and not node.args:
            yield node.lineno, name
        if true(node, "allow_pickle") or true(node, "trust_remote_code"):
            yield node.lineno, f"{name}(allow_pickle)"
        if any(one.arg == "weights_only" for one in node.keywords) and not true(node, "weights_only"):
            yield node.lineno, f"{name}(weights_only=False)"


def test_no_foreign_file_is_opened_by_what_runs_code():
    found = set()
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            for line, what in faults(file.read_text(encoding="utf-8")):
                assert (name, what) in ALLOWED, f"{name}:{line}: {what} runs what its file or sender says"
                found.add((name, what))
    assert found == set(ALLOWED), "an exception that nothing needs any more"


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from pickle import loads", "import cloudpickle as c", "from yaml import load"),
        *(
            "torch.load(p)",
            "torch.export.load(p)",
            "torch.jit.load(p)",
            "from torch import load",
            "jit.load(p)",
        ),
        *("np.load(p, allow_pickle=True)", "np.load(p, allow_pickle=x)", "torch.load(p, weights_only=False)"),
        *(
            "pipe.recv()",
            "self._pipe.recv()",
            "eval(text)",
            "yaml.load(text)",
            "f(p, trust_remote_code=True)",
        ),
    ],
)
def test_such_a_call_is_found(source):
    assert list(faults(source))


@pytest.mark.parametrize(
    "source",
    ["np.load(p, allow_pickle=False)", "model.eval()", "json.load(f)", "yaml.safe_load(f)", "s.recv(9)"],
)
def test_a_harmless_call_is_not(source):
    assert not list(faults(source))
