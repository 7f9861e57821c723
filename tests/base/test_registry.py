"""Names are known without an import; entry points are read when asked for; a name has one owner."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from base.registry import Registry, UnknownName

GROUP = "murmuration.test_things"
OURS = {"ours": "builtins:dict", "missing": "no_such_module:thing"}


def install(folder: Path, package: str, group: str = GROUP, **points: str) -> None:
    """A folder as pip leaves it: a module that prints when it is imported, and its entry points."""
    module = package.replace("-", "_")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    (folder / f"{module}.py").write_text(
        f"print('{module} is imported')\n\ndef thing():\n    return '{module}'\n"
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def make() -> Registry:
    return Registry("thing", GROUP, OURS)


def test_names_are_known_without_an_import(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The module of "missing" does not exist, and that of "theirs" prints when it is imported."""
    install(site, "quiet-things", theirs="quiet_things:thing")
    registry = make()
    assert list(registry) == ["missing", "ours", "theirs"]
    assert len(registry) == 3
    assert "theirs" in registry
    assert registry.require("missing") == "missing"
    assert registry.require("theirs") == "theirs"
    assert capsys.readouterr().out == ""
    assert "quiet_things" not in sys.modules
    assert registry["theirs"]() == "quiet_things"
    assert capsys.readouterr().out == "quiet_things is imported\n"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        registry["missing"]


def test_entry_points_are_not_read_for_a_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(*, group: str) -> tuple[()]:
        asked.append(group)
        return ()

    monkeypatch.setattr("base.registry.entry_points", counted)
    registry = make()
    assert registry["ours"] is dict
    assert asked == []
    with pytest.raises(UnknownName):
        registry["theirs"]
    list(registry)
    assert asked == [GROUP]


def test_an_unknown_name_is_refused_with_all_names(site: Path) -> None:
    install(site, "more-things", theirs="more_things:thing")
    registry = make()
    registry.add("here")(len)
    expected = "unknown thing 'nope'; known are 'here', 'missing', 'ours', 'theirs'"
    for ask in (registry.require, registry.__getitem__):
        with pytest.raises(UnknownName, match=f"^{expected}$"):
            ask("nope")


def test_a_name_of_ours_in_another_package_is_refused_with_both_owners(site: Path) -> None:
    install(site, "greedy-things", ours="greedy_things:thing")
    registry = make()
    assert registry["ours"] is dict
    for ask in (list, len, lambda one: one.require("nope")):
        with pytest.raises(ValueError, match=r"greedy-things and murmuration both bring a thing 'ours'"):
            ask(registry)


def test_a_name_of_two_packages_is_refused_with_both_owners(site: Path) -> None:
    install(site, "first-things", theirs="first_things:thing")
    install(site, "second-things", theirs="second_things:thing")
    with pytest.raises(ValueError, match="both bring a thing 'theirs'") as refused:
        make()["theirs"]
    assert {"first-things", "second-things"} <= set(str(refused.value).split())


@pytest.mark.parametrize("taken", ["ours", "here", "theirs"])
def test_a_taken_name_cannot_be_added(site: Path, taken: str) -> None:
    install(site, "their-things", theirs="their_things:thing")
    registry = make()
    registry.add("here")(len)
    with pytest.raises(ValueError, match=f"thing '{taken}' is registered already"):
        registry.add(taken)


def test_what_was_added_can_be_removed() -> None:
    registry = make()
    assert registry.add("here")(len) is len
    assert registry["here"] is len
    registry.remove("here")
    assert "here" not in registry
    with pytest.raises(KeyError):
        registry.remove("ours")


def test_a_recipe_is_checked_before_torch_is_loaded(site: Path) -> None:
    """The names of clip rules and noise shapes, also another package's, need no torch."""
    install(site, "deep-rules", "murmuration.clip_rules", **{"by-depth": "deep_rules:thing"})
    script = """
        import sys
        from base.registries import CLIP_RULES, NOISE_SHAPES
        CLIP_RULES.require("by-depth"), CLIP_RULES.require("dim"), NOISE_SHAPES.require("isotropic")
        assert not {"torch", "numpy", "deep_rules", "privacy"} & set(sys.modules), sys.modules
        print(*CLIP_RULES)
    """
    paths = [str(site), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{textwrap.dedent(script)}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "by-depth dim global power uniform\n", done.stderr
