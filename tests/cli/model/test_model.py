"""The store: models by name, whole or not at all, and nothing but data."""

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from speech.pretrained.folder import ModelFolder
from tests.pretrained_models import tiny_model

SHA = "0123456789abcdef0123456789abcdef01234567"
NAME = "owner/tiny-whisper"


def murmur(*arguments: object):
    return CliRunner().invoke(app, ["model", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model("whisper", tmp_path_factory.mktemp("made") / "whisper")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "modeling.py").write_text("raise SystemExit\n")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_folder_is_copied_under_a_name_and_described(whisper: Path, home: Path) -> None:
    added = murmur("add", NAME, whisper, "--revision", SHA)
    digest = ModelFolder(whisper).digest
    assert added.exit_code == 0 and f"licence mit; model.digest = {digest}" in added.stdout
    shown = murmur("show", NAME).stdout
    facts = dict(re.findall(r"^([a-z ]+): +(.*)$", shown, flags=re.M))
    size = sum(value.numel() for value in _parameters(whisper))
    assert facts == {
        "folder": str(home / "models" / NAME),
        "type": "whisper",
        "family": "whisper",
        "parameters": f"{size:,}",
        "sample rate": "16000 Hz",
        "window": "4 s",
        "licence": "mit",
        "revision": SHA,
        "digest": digest,
    }
    assert f"{NAME}  whisper, {size:,} parameters" in murmur("list").stdout
    kept = {one.name for one in (home / "models" / NAME).iterdir()}
    assert "modeling.py" not in kept and {"README.md", "model.safetensors", ".revision"} <= kept


def _parameters(folder: Path):
    from speech.pretrained.transformers_library import transformers

    return transformers().WhisperForConditionalGeneration.from_pretrained(folder).parameters()


def test_a_folder_is_described_without_being_added(whisper: Path, home: Path) -> None:
    shown = murmur("show", whisper)
    assert shown.exit_code == 0 and "not known" in shown.stdout and "mit" in shown.stdout
    assert "no model in" in murmur("list").stdout and not home.exists()


def test_what_is_no_model_is_not_added(whisper: Path, home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    for arguments, message in (
        ((NAME, broken), "preprocessor_config.json is missing"),
        ((NAME, tmp_path / "absent"), "there is no such folder"),
        (("../up", whisper), "the form owner/name"),
        (("alone", whisper), "the form owner/name"),
    ):
        done = murmur("add", *arguments)
        assert done.exit_code == 2 and message in done.stderr
    assert not list(home.rglob("*.json"))


def test_a_name_that_is_taken_keeps_its_model(whisper: Path, home: Path) -> None:
    assert murmur("add", NAME, whisper).exit_code == 0
    again = murmur("add", NAME, whisper)
    assert again.exit_code == 2 and "in the store already" in again.stderr
    assert murmur("get", NAME).exit_code == 2


def test_a_copy_that_breaks_off_leaves_nothing(
    whisper: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speech.pretrained import store

    def full(source: Path, target: Path) -> None:
        if source.suffix == ".safetensors":
            raise OSError(28, "No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(store.shutil, "copyfile", full)
    done = murmur("add", NAME, whisper)
    assert done.exit_code == 2 and "No space left" in done.stderr
    assert not list((home / "models" / "owner").iterdir())


def test_getting_asks_for_data_only_and_notes_the_commit(
    whisper: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = {}

    def download(name: str, *, cache_dir: str, **settings: object) -> str:
        asked.update(name=name, **settings)
        snapshot = Path(cache_dir) / "models--owner--tiny-whisper" / "snapshots" / SHA
        snapshot.mkdir(parents=True)
        for file in whisper.iterdir():
            (snapshot / file.name).symlink_to(file)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    done = murmur("get", NAME, "--revision", SHA[:7])
    assert done.exit_code == 0, done.stderr
    assert asked == {
        "name": NAME,
        "revision": SHA[:7],
        "allow_patterns": ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"],
        "ignore_patterns": ["*/*"],
    }
    folder = ModelFolder(home / "models" / NAME)
    assert folder.revision == SHA and folder.digest == ModelFolder(whisper).digest
    assert not any(one.is_symlink() for one in folder.path.iterdir())
    assert [one.name for one in folder.path.parent.iterdir()] == ["tiny-whisper"]


def test_without_a_network_or_the_extra_the_way_round_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(name: str, **settings: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("Connection refused")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    done = murmur("get", NAME)
    assert done.exit_code == 2 and "Connection refused" in done.stderr
    assert f"murmur model add {NAME} FOLDER" in done.stderr
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'murmuration[pretrained]'" in murmur("get", NAME).stderr
    assert not list(home.rglob("config.json"))
