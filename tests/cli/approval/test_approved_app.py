"""What stands before Flower's step that unpacks a bundle: only approved bytes pass, into a fresh folder."""

import io
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest
from flwr.supernode.runtime import run_clientapp

from base.release import release
from cli.approval.approvals import NotApproved, approve, digest_of
from cli.approval.approved_app import NO_MESSAGE, SIGNATURE, ApprovedTask, end_without_message
from cli.approval.releases import own_bundle

BUNDLE = own_bundle()
DIGEST = digest_of(BUNDLE)
ID = "murmuration/murmuration"


@pytest.fixture
def listed(tmp_path):
    approve(tmp_path / "approved", [f"sha256 {DIGEST}\n"])
    return tmp_path / "approved"


def pulled(monkeypatch, listed, *, fab_id=ID, version=None, claimed=DIGEST, signature=""):
    """A task as the server describes it, taken from the SuperNode."""
    run = SimpleNamespace(
        fab_id=fab_id, fab_version=version or release(), override_config={SIGNATURE: signature}
    )
    bundle = SimpleNamespace(hash_str=claimed)
    monkeypatch.setattr(run_clientapp, "pull_task_input", lambda client: ("message", "context", run, bundle))
    task = ApprovedTask(listed)
    assert task.pull(None) == ("message", "context", run, bundle)
    return task


def installed(tmp_path):
    return [path for path in (tmp_path / "flwr").rglob("*") if path.is_file()]


def test_an_approved_bundle_is_installed_where_flower_looks_for_it(tmp_path, monkeypatch, listed):
    folder = pulled(monkeypatch, listed).install(BUNDLE, skip_prompt=True)
    assert (folder / "client" / "app.py").is_file()


@pytest.mark.parametrize(
    "content", [BUNDLE + b"\0", b"", b"PK", BUNDLE[:-1]], ids=["a byte more", "nothing", "no zip", "cut"]
)
def test_nothing_of_another_bundle_is_unpacked(tmp_path, monkeypatch, listed, content):
    with pytest.raises(NotApproved, match="runs only what its owner approved"):
        pulled(monkeypatch, listed).install(content, skip_prompt=True)
    assert not installed(tmp_path)


def test_a_bundle_that_unpacks_to_gigabytes_is_refused_by_its_bytes(tmp_path, monkeypatch, listed):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(10):
            file.writestr(f"client/{number}.py", bytes(10_000_000))
    assert len(bomb.getvalue()) < 200_000
    with pytest.raises(NotApproved):
        pulled(monkeypatch, listed).install(bomb.getvalue(), skip_prompt=True)
    assert not installed(tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        {"claimed": "0" * 64},
        {"claimed": DIGEST[:8] + "0" * 56},
        {"version": "../../planted"},
        {"version": "9.9.9"},
        {"fab_id": "murmuration/other"},
    ],
)
def test_a_run_that_points_at_another_folder_is_refused(monkeypatch, listed, said):
    with pytest.raises(NotApproved, match="submit the run again"):
        pulled(monkeypatch, listed, **said).install(BUNDLE, skip_prompt=True)


def test_a_kind_of_task_that_is_no_clientapp_is_refused_whatever_it_brings(tmp_path, monkeypatch, listed):
    pulled(monkeypatch, listed)
    task = ApprovedTask(listed, "flwr-agentapp")
    with pytest.raises(NotApproved, match="a node runs no flwr-agentapp"):
        task.install(BUNDLE, skip_prompt=True)
    assert not installed(tmp_path)


def test_an_approval_that_is_withdrawn_is_gone_at_the_next_task(monkeypatch, listed):
    pulled(monkeypatch, listed).install(BUNDLE, skip_prompt=True)
    listed.write_text("")
    with pytest.raises(NotApproved):
        pulled(monkeypatch, listed).install(BUNDLE, skip_prompt=True)


def test_it_has_none_of_the_apps_packages_before_the_app():
    """Else the installed code would run under the approved digest, or the other way round."""
    words = (
        "import sys, cli.approval.approved_app; "
        "print({name.split('.')[0] for name in sys.modules} & "
        "{'client', 'privacy', 'recipes', 'server', 'speech', 'strategies'})"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_each_task_has_a_folder_of_its_own_and_leaves_none(tmp_path):
    """A planted module in Flower's home is not found, and the folder of a killed task goes with the next."""
    tasks = tmp_path / "tasks"
    dead = tasks / "999999999-killed"
    dead.mkdir(parents=True)
    environment = {
        **os.environ,
        "MURMUR_APPROVED": str(tmp_path / "none"),
        "MURMUR_TASKS": str(tasks),
        "MURMUR_MOST_PARAMETERS": "9",
        "MURMUR_TOKEN": "t",
        "MURMUR_REFUSED": "",
    }
    words = (
        "import cli.approval.approved_app as here, os; "
        "here.flwr_clientapp = lambda: print(os.environ['FLWR_HOME']); here.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(tasks))
    assert list(tasks.iterdir()) == []


def test_a_task_without_a_message_ends_without_another_word(monkeypatch, capfd):
    def nothing(client):
        raise RuntimeError("No messages received from Runtime API")

    def ended(code):
        raise SystemExit(code)

    monkeypatch.setattr(run_clientapp, "pull_task_input", nothing)
    monkeypatch.setattr(os, "_exit", ended)
    end_without_message()
    with pytest.raises(SystemExit) as end:
        run_clientapp.pull_task_input(None)
    assert end.value.code == NO_MESSAGE
    assert "No messages received" in capfd.readouterr().err


def test_a_task_with_a_message_goes_on(monkeypatch):
    monkeypatch.setattr(run_clientapp, "pull_task_input", lambda client: ("message", client))
    end_without_message()
    assert run_clientapp.pull_task_input("client") == ("message", "client")
