"""The `murmur` command: its subcommands, one module each."""

from __future__ import annotations

import os
import sys
from typing import Annotated

# Set before torch is imported anywhere: spinning OpenMP threads make a busy machine many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import typer

from cli.lazy_commands import LazyCommand, lazy_group

COMMANDS = {
    "run": LazyCommand(
        "cli.run.command:run", "Run a federation on this machine or a Ray cluster (Flower's simulation)."
    ),
    "plan": LazyCommand(
        "cli.plan.command:plan", "Compute the epsilon of a run, or the noise that it needs, by RDP and PLD."
    ),
    "plot": LazyCommand(
        "cli.plot.command:plot",
        "Draw WER by epsilon and over rounds; of a raw-metrics simulation, each tensor's update norms too.",
    ),
    "track": LazyCommand(
        "cli.track.command:track", "Give the metrics of a run to TensorBoard, MLflow or Weights & Biases."
    ),
    "paper": LazyCommand(
        "cli.paper.command:app",
        "Work with the tables of arXiv 2310.00098: rows as recipes, error rates and epsilons to compare.",
    ),
    "transcribe": LazyCommand(
        "cli.transcribe:transcribe",
        "Write what was said in each file, and when; a file that cannot be read costs no other.",
    ),
    "evaluate": LazyCommand(
        "cli.evaluate.command:evaluate",
        "Measure error rates, with intervals and by speaker, and show the worst utterances word by word.",
    ),
    "export": LazyCommand(
        "cli.export:export",
        "Write a model with its features inside: 16 kHz sound in, log-probabilities out.",
    ),
    "report": LazyCommand(
        "cli.report.command:report", "Write one HTML file about a run, or several side by side."
    ),
    "watch": LazyCommand(
        "cli.watch.command:watch", "Show a run on a page of this machine that follows it as its rounds end."
    ),
    "card": LazyCommand("cli.card:card", "Print the model card (Markdown with a Hugging Face header)."),
    "lm": LazyCommand(
        "cli.language_model:language_model",
        "Make a language model (ARPA) from text. Transcripts in it are covered by no epsilon.",
    ),
    "pretrain": LazyCommand(
        "cli.pretrain.command:pretrain", "Train a model centrally, to start a federation from."
    ),
    "recipe": LazyCommand(
        "cli.recipe:recipe", "List every key of the run configuration with its default and meaning."
    ),
    "app": LazyCommand("cli.app:app", "Write the Flower app that `flwr run FOLDER` takes."),
    "doctor": LazyCommand(
        "cli.deploy.doctor:doctor", "Say which part of a deployment is at fault, and what to do about it."
    ),
    "corpus": LazyCommand(
        "cli.corpus.command:app", "Get, prepare, split and describe corpora; take a speaker out of a node."
    ),
    "model": LazyCommand(
        "cli.model.command:app", "Get, add and describe the pre-trained models of this machine."
    ),
    "ledger": LazyCommand("cli.ledger.copies:app", "Show, verify, back up or restore a privacy ledger."),
    "deploy": LazyCommand(
        "cli.deploy.command:app", "Make the certificates and keys of a deployment; admit and revoke nodes."
    ),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    name="murmur",
    help="Differentially private federated speech recognition.",
    epilog="Exit status: 0 done, 1 failed or a fault was found, 2 refused, 130 stopped (docs/commands.md).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        from base.release import release

        typer.echo(f"murmuration {release()}")
        raise typer.Exit


@app.callback()
def _murmur(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Say which release this is."),
    ] = False,
) -> None:
    """A group without commands of its own needs a callback to be a group."""


def main() -> None:
    """Entry point of the console script."""
    sys.exit(app())


if __name__ == "__main__":
    main()
