"""How a run ends that cannot go on: with one message that names the setting and the remedy."""

import errno
from types import SimpleNamespace

import pytest

from cli.composing import default_config
from recipes import runs_folder
from server import entry


def _serve(monkeypatch, error):
    def ends(*_, **__):
        raise error

    monkeypatch.setattr(entry, "run_federation", ends)
    with pytest.raises(type(error)):
        entry.serve(None, SimpleNamespace(run_config=default_config(), run_id=1))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space"), OSError(errno.EDQUOT, "Quota")])
def test_a_full_disk_is_named_with_its_remedy(error, monkeypatch, capsys):
    _serve(monkeypatch, error)
    said = capsys.readouterr().out
    assert f"murmuration: run.folder = {str(runs_folder())!r}: the disk is full" in said
    assert 'run.resume = "latest"' in said


def test_a_checkpoint_that_finds_no_room_says_so_too(monkeypatch, capsys):
    # As safetensors 0.8 says it of a full tmpfs
    words = "Error while serializing: I/O error: No space left on device (os error 28)"
    _serve(monkeypatch, entry.SafetensorError(words))
    assert "the disk is full" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), entry.SafetensorError("header too large")]
)
def test_other_faults_of_files_are_not_called_a_full_disk(error, monkeypatch, capsys):
    _serve(monkeypatch, error)
    assert "full" not in capsys.readouterr().out
