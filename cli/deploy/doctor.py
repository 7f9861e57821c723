"""`murmur doctor`: what is wrong with a deployment, part by part, and what would mend it.

It asks what a person on the host can ask: grpcio's health protocol, a TLS handshake, the SuperLink's own
answer to a node's key, the disk, the installed releases, the speech, a pre-trained model. It changes nothing,
and shows no secret. Each check stands alone; the exit status is 1 if any of them found a fault. A certificate
is a warning from 30 days before its end, and a fault from 7.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from packaging.specifiers import SpecifierSet

from base.counts import count_of
from base.printable_text import one_line
from cli.approval.approvals import Approvals, NotApproved, digest_of
from cli.deploy import probes
from cli.deploy.base_model import BaseModelCheck
from cli.deploy.credentials import is_address
from cli.deploy.finding import Finding
from cli.deploy.superlink_checks import check_certificate, check_superlink
from cli.exits import FAILED

if TYPE_CHECKING:
    from speech.corpora.corpus import Corpus

FLOWER = SpecifierSet(">=1.39,<1.40")
MOST_SPEAKERS_READ = 20  # speakers of whom a recording is read
PROBE_HZ = 16_000
FREE_GIB = 2.0
LONGEST_LINE = 2000
HEALTH_MEANINGS = {
    "UNAVAILABLE": "nothing answers there: start it, or give the address of its --health-server-address",
    "DEADLINE_EXCEEDED": "it is alive but does not answer, a zombie: restart it",
    "NOT_SERVING": "it says itself that it does not serve: see its log",
    "UNIMPLEMENTED": "that port is no health port: give the address of its --health-server-address",
}


def doctor(
    superlink: Annotated[str, typer.Option(help="The SuperLink's gRPC address, host:9092.")] = "",
    authority: Annotated[Path | None, typer.Option(help="ca.crt, to check its certificate with.")] = None,
    key: Annotated[Path | None, typer.Option(help="This node's private key: is it admitted?")] = None,
    certificate: Annotated[
        list[Path] | None, typer.Option(help="A certificate on this disk: how long is it good? Repeatable.")
    ] = None,
    health: Annotated[
        list[str] | None, typer.Option(help="NAME=host:port of a --health-server-address; repeatable.")
    ] = None,
    corpus_kind: Annotated[str, typer.Option(help="As in --node-config: manifest, librispeech ...")] = "",
    corpus_path: Annotated[str, typer.Option(help="As in --node-config.")] = "",
    corpus_split: Annotated[str | None, typer.Option(help="The split to train on (train).")] = None,
    corpus_language: Annotated[
        str | None,
        typer.Option(help="As in the run: en (the default), fr, de, or a file with characters."),
    ] = None,
    corpus_unspelled: Annotated[
        str | None, typer.Option(help="As in --node-config: skip (the default), map.")
    ] = None,
    approved: Annotated[
        Path | None, typer.Option(help="A node's list of approvals: is the installed release on it?")
    ] = None,
    node_state: Annotated[
        str | None, typer.Option(help="As in --node-config: the folder of the node's own records.")
    ] = None,
    base_model: Annotated[
        str,
        typer.Option(
            help="As in --node-config: the folder of a pre-trained model; or its name in the store."
        ),
    ] = "",
    recipe: Annotated[
        Path | None, typer.Option(help="A run's recipe: is this node's copy of its pre-trained model right?")
    ] = None,
    model_digest: Annotated[
        str | None, typer.Option(help="The digest that it must have (`murmur model show` at the server).")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="As in --node-config: the models that may be trained.")
    ] = None,
    disk: Annotated[list[Path] | None, typer.Option(help="A folder that needs room; repeatable.")] = None,
    free_gib: Annotated[
        float | None, typer.Option(min=0, help=f"How much room it needs ({FREE_GIB:g}).")
    ] = None,
) -> None:
    """Say which part of a deployment is at fault, and what to do about it."""
    speech = corpus_kind or corpus_path
    _require_partner(superlink, "--superlink", {"--authority": authority, "--key": key})
    _require_partner(disk, "--disk", {"--free-gib": free_gib})
    _require_partner(
        base_model or recipe, "--base-model", {"--model-digest": model_digest, "--models": models}
    )
    _require_partner(
        speech,
        "--corpus-path",
        {
            "--corpus-split": corpus_split,
            "--corpus-language": corpus_language,
            "--corpus-unspelled": corpus_unspelled,
            "--node-state": node_state,
        },
    )
    findings = [check_flower()]
    findings += [check_health(*given.rpartition("=")[::2]) for given in health or []]
    findings += [check_certificate(file) for file in certificate or []]
    if superlink:
        findings += check_superlink(superlink, authority, key)
    if approved:
        findings.append(check_approved(approved))
    findings += [check_disk(folder, FREE_GIB if free_gib is None else free_gib) for folder in disk or []]
    if speech:
        said = {"corpus-language": corpus_language, "corpus-unspelled": corpus_unspelled}
        rules = {name: value for name, value in said.items() if value is not None}
        findings.append(
            check_speech(
                corpus_kind or "manifest", corpus_path, corpus_split or "train", rules, node_state or ""
            )
        )
    if base_model or recipe:
        check = BaseModelCheck(own=base_model, recipe=recipe, digest=model_digest or "", models=models)
        findings += check.findings()
    for finding in findings:
        typer.echo(one_line(finding.line, most=LONGEST_LINE))  # some words are a server's, or a certificate's
    raise typer.Exit(0 if all(finding.good for finding in findings) else FAILED)


def _require_partner(partner: object, name: str, options: Mapping[str, object]) -> None:
    """Refuse options that say how to check what was not named: they would check nothing."""
    for option, value in options.items():
        if value is not None and not partner:
            raise typer.BadParameter(f"{option} {value} checks nothing alone: give {name} too")


def check_flower() -> Finding:
    """The installed releases: every part of a deployment must have the same."""
    try:
        ours, flower = version("murmuration"), version("flwr")
    except PackageNotFoundError as error:
        ours, flower = "from its checkout", version("flwr") if error.name != "flwr" else ""
    words = f"murmuration {ours}, flwr {flower or 'missing'}"
    if flower and flower in FLOWER:
        return Finding("release", True, f"{words}: must be the same on every host")
    return Finding("release", False, f"{words}: install flwr {FLOWER}, whose SuperNodes speak gRPC")


def check_health(name: str, address: str) -> Finding:
    """One part, by grpcio's health protocol."""
    part = name or address or "health"
    if not is_address(address):
        return Finding(part, False, f"{address!r} is no address: write it as {name or 'NAME'}=host:port")
    fault = probes.health(address)
    if not fault:
        return Finding(part, True, "serves")
    return Finding(part, False, f"{address} answers {fault}: {HEALTH_MEANINGS.get(fault, 'see its log')}")


def check_disk(folder: Path, free_gib: float) -> Finding:
    """Room for models, messages and logs."""
    try:
        free = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return Finding(f"disk {folder}", False, f"{error.strerror}: make the folder, or mount its volume")
    words = f"{free:.1f} GiB free"
    if free < free_gib:
        return Finding(
            f"disk {folder}",
            False,
            f"{words}, {free_gib:g} needed: remove old run folders, or give it a larger volume",
        )
    return Finding(f"disk {folder}", True, words)


def check_approved(path: Path) -> Finding:
    """Which releases a node runs, and whether the one that is installed beside it is among them."""
    # Imported here: the other checks should also work where Flower does not.
    from cli.approval.releases import own_bundle

    part = f"approved {path}"
    try:
        approvals = Approvals.read(path)
    except NotApproved as error:
        return Finding(part, False, str(error))
    installed = digest_of(own_bundle())
    words = f"this node runs {approvals}"
    if installed in approvals.digests:
        return Finding(part, True, f"{words}; the installed release is one of them")
    if approvals.keys:
        return Finding(part, True, f"{words}; the installed release (sha256 {installed}) needs a signature")
    return Finding(
        part,
        False,
        f"{words}, and not the installed release, sha256 {installed}: `murmur deploy approve --list {path}`",
    )


def check_speech(
    kind: str, path: str, split: str, rules: Mapping[str, str] | None = None, node_state: str = ""
) -> Finding:
    """Whether a node has speakers it can train on; of some of them a recording is really read.

    `rules` say which utterances can be used, as in --node-config.
    """
    # Imported here: the other checks should also work where torch does not.
    from client.node_speech import own_rules
    from client.state.departures import Departures
    from client.state.node_state import KEY, node_state_path
    from recipes import ConfigError, corpus_path
    from speech.alphabet_file import named_alphabet
    from speech.corpora.loading import load_corpus
    from speech.errors import SpeechError

    try:
        chosen = own_rules(rules or {})
        if "language" in chosen:
            chosen["language"] = named_alphabet(chosen["language"])
        corpus = load_corpus(kind, corpus_path(kind, path), **chosen)
        departures = Departures(node_state_path({KEY: node_state}))
        everybody = corpus.speakers(split)
        speakers = departures.without(everybody)
    except (ConfigError, SpeechError) as error:
        return Finding("speech", False, str(error))
    skipped = f", {count_of(len(corpus.skipped), 'utterance')} cannot be used" if corpus.skipped else ""
    if gone := len(everybody) - len(speakers):
        skipped += f", {gone} more have left ({departures.path})"
    if not speakers:
        return Finding("speech", False, f"{path}: no usable speaker in split {split!r}{skipped}")
    words = f"{count_of(len(speakers), 'speaker')} in split {split!r}{skipped}"
    tried = speakers[:: -(-len(speakers) // MOST_SPEAKERS_READ)]
    if faults := [fault for speaker in tried if (fault := _unheard(corpus, split, speaker))]:
        words += f"; {len(faults)} of {len(tried)} recordings tried cannot be read: {faults[0]}"
        return Finding("speech", False, words)
    return Finding("speech", True, f"{words}; {len(tried)} recordings tried can be read")


def _unheard(corpus: Corpus, split: str, speaker: str) -> str:
    """What keeps the first recording of a speaker from being read; empty if nothing does."""
    from speech.errors import AudioError

    first = corpus.utterances(split, speaker)[0]
    try:
        recording = corpus.recording(first.audio)
        recording.segment(first.offset_seconds, first.duration_seconds, sample_rate_hz=PROBE_HZ)
    except AudioError as error:
        return str(error)
    return ""
