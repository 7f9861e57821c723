"""A node's list of approved releases, and who may be on it."""

import base64
import hashlib
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResultStatus
from typer.testing import CliRunner

from cli.approval.approvals import Approvals, NotApproved, approve, make_release_key, sign
from cli.approval.approved_executor import ApprovedExecutor
from cli.approval.releases import own_bundle
from cli.approval.task_environment import REFUSED, TOKEN
from cli.deploy.command import app

BUNDLE = b"PK a bundle"
DIGEST = hashlib.sha256(BUNDLE).hexdigest()


def murmur_deploy(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_bundle_is_the_same_whenever_it_is_built():
    assert own_bundle() == own_bundle()


def test_an_approved_bundle_runs_and_one_with_a_changed_byte_does_not(tmp_path):
    (tmp_path / "list").write_text(f"# ours\nsha256 {DIGEST}  murmuration\n")
    approvals = Approvals.read(tmp_path / "list")
    assert approvals.require(BUNDLE) == DIGEST
    with pytest.raises(NotApproved) as refused:
        approvals.require(BUNDLE + b" ")
    assert DIGEST in str(refused.value)
    assert hashlib.sha256(BUNDLE + b" ").hexdigest() in str(refused.value)


def test_a_signature_is_of_one_bundle_by_one_key(tmp_path):
    private, line = make_release_key()
    stranger, _ = make_release_key()
    (tmp_path / "list").write_text(line)
    approvals = Approvals.read(tmp_path / "list")
    assert approvals.require(BUNDLE, sign(private, DIGEST)) == DIGEST
    refused = [
        (BUNDLE, ""),
        (BUNDLE, "not base64"),
        (BUNDLE, base64.b64encode(bytes(64)).decode()),
        (BUNDLE, sign(stranger, DIGEST)),
        (BUNDLE + b" ", sign(private, DIGEST)),
    ]
    for bundle, signature in refused:
        with pytest.raises(NotApproved):
            approvals.require(bundle, signature)


def test_an_empty_list_approves_nothing(tmp_path):
    (tmp_path / "list").write_text("# withdrawn\n")
    with pytest.raises(NotApproved, match="approved: nothing"):
        Approvals.read(tmp_path / "list").require(BUNDLE)


@pytest.mark.parametrize(
    "line",
    [
        DIGEST,
        f"sha256 {DIGEST[:-1]}",
        f"sha256 {DIGEST.upper()}",
        f"sha1 {DIGEST}",
        "ed25519 AAAA",
        f"! sha256 {DIGEST}",
    ],
)
def test_a_list_with_a_line_that_says_nothing_approves_nothing(tmp_path, line):
    (tmp_path / "list").write_text(f"sha256 {DIGEST}\n{line}\n")
    with pytest.raises(NotApproved, match="line 2"):
        Approvals.read(tmp_path / "list")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * 2_000_000])
def test_a_list_that_cannot_be_read_approves_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "list").write_bytes(content)
    with pytest.raises(NotApproved, match="murmur deploy approve"):
        Approvals.read(tmp_path / "list")


def test_a_comment_stays_a_comment_whatever_ends_a_line_elsewhere(tmp_path):
    (tmp_path / "list").write_text(f"# old:\u2028sha256 {DIGEST}\n", encoding="utf-8")
    assert not Approvals.read(tmp_path / "list").digests


def test_a_list_that_others_may_write_approves_nothing(tmp_path):
    (tmp_path / "list").write_text(f"sha256 {DIGEST}\n")
    (tmp_path / "list").chmod(0o664)
    with pytest.raises(NotApproved, match="can be written by others"):
        Approvals.read(tmp_path / "list")


def test_approving_adds_a_line_once_and_keeps_what_is_there(tmp_path):
    path = tmp_path / "etc" / "list"
    line = f"sha256 {DIGEST}  one\n"
    assert approve(path, [line]) == [line]
    path.write_text(path.read_text().rstrip("\n"))  # an editor that leaves no end of line
    assert approve(path, [line, f"sha256 {'0' * 64}\n"]) == [f"sha256 {'0' * 64}\n"]
    assert Approvals.read(path).digests == {DIGEST, "0" * 64}


def test_an_update_can_withdraw_what_was_approved_before(tmp_path):
    """Else whoever controls the server could go on with an old release, and its faults."""
    listed = tmp_path / "approved"
    approve(listed, [f"sha256 {'0' * 64}\n"])
    assert murmur_deploy("approve", "--only", "--list", listed).exit_code == 0
    assert Approvals.read(listed).digests == {hashlib.sha256(own_bundle()).hexdigest()}
    assert murmur_deploy("approve", "1" * 64, "--only", "--list", listed).exit_code == 0
    assert Approvals.read(listed).digests == {"1" * 64}
    assert [path.name for path in tmp_path.iterdir()] == ["approved"]


def test_the_commands_lead_from_a_key_to_an_approved_release(tmp_path):
    made = murmur_deploy("release-key", "ours", "--folder", tmp_path)
    assert made.exit_code == 0, made.output
    assert stat.S_IMODE((tmp_path / "ours.key").stat().st_mode) == 0o600
    bundle = tmp_path / "a.fab"
    bundle.write_bytes(BUNDLE)
    signed = murmur_deploy("sign", bundle, "--key", tmp_path / "ours.key", "--out", tmp_path / "a.sig")
    assert signed.exit_code == 0, signed.output
    assert murmur_deploy("approve", tmp_path / "ours.pub", "--list", tmp_path / "list").exit_code == 0
    signature = (tmp_path / "a.sig").read_text().strip()
    assert Approvals.read(tmp_path / "list").require(BUNDLE, signature) == DIGEST
    assert DIGEST in murmur_deploy("digest", bundle).output


def test_without_a_name_this_installation_is_approved(tmp_path):
    assert murmur_deploy("approve", "--list", tmp_path / "list").exit_code == 0
    assert Approvals.read(tmp_path / "list").require(own_bundle())
    assert "(was there)" in murmur_deploy("approve", "--list", tmp_path / "list").output


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ours.key", b"-----BEGIN PRIVATE KEY-----", "private key"),
        ("a.txt", b"words", "neither a bundle"),
        ("absent", None, "no digest"),
    ],
)
def test_what_cannot_be_approved_is_said(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = murmur_deploy("approve", tmp_path / name, "--list", tmp_path / "list")
    assert done.exit_code == 2
    assert words in done.output
    assert not (tmp_path / "list").exists()


@pytest.fixture
def killed():
    """Tokens of the processes that the executor ended."""
    return []


@pytest.fixture
def started(monkeypatch, killed):
    """Words and environment of the processes that the executor starts."""
    made = []

    def start(words, env):
        made.append((words, env))
        return SimpleNamespace(poll=lambda: None, kill=lambda: killed.append(env[TOKEN]))

    monkeypatch.setattr("subprocess.Popen", start)
    return made


def test_a_process_that_was_too_late_for_its_task_is_ended_where_another_takes_it(started, killed):
    executor = ApprovedExecutor()
    for token, task in (("a", 1), ("b", 2), ("c", 1)):
        executor.launch(replace(spec_of(TaskType.CLIENT_APP), token=token, task_id=task))
    assert (len(started), killed) == (3, ["a"])


def spec_of(kind):
    return ExecutionSpec(
        task_type=kind,
        runtime_api_address="127.0.0.1:9094",
        token="the token",
        insecure=True,
        root_certificates_path=None,
        runtime_dependency_install=True,
        parent_pid=1,
        suppress_output=False,
        task_id=1,
        fab_hash=None,
    )


def test_every_kind_of_task_but_the_clientapp_is_refused(started):
    """By the process that takes it, or the node would wait for ever (`tests/test_hostile_superlink.py`)."""
    for kind in TaskType:
        assert ApprovedExecutor().launch(spec_of(kind)).status == LaunchResultStatus.ACCEPTED
    told = dict(zip(TaskType, (environment[REFUSED] for _, environment in started), strict=True))
    assert told == {kind: "" if kind == TaskType.CLIENT_APP else str(kind) for kind in TaskType}
    for words, _ in started:
        assert words[:4] == [sys.executable, "-P", "-m", "cli.approval.approved_app"]
        assert not any("dependency" in word for word in words)


def test_the_tasks_token_is_not_among_the_words_that_every_user_sees(started):
    ApprovedExecutor().launch(spec_of(TaskType.CLIENT_APP))
    ((words, environment),) = started
    assert environment[TOKEN] == "the token"
    assert "the token" not in words


def test_it_starts_nothing_that_is_looked_for_on_the_path(started):
    """A folder that may hold no programs (/tmp in a container) must not let Flower's own command run."""
    ApprovedExecutor().launch(spec_of(TaskType.CLIENT_APP))
    assert Path(started[0][0][0]).is_absolute()
