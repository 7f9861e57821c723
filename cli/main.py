"""The `murmur` command: its subcommands, one module each."""

from __future__ import annotations

import os
import sys

# Set before torch is imported anywhere: spinning OpenMP threads make a busy machine many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import typer

from cli import (
    card,
    corpus,
    deploy,
    doctor,
    evaluate,
    export,
    language_model,
    ledger,
    plan,
    pretrain,
    recipe,
    run,
    transcribe,
)

app = typer.Typer(
    name="murmur",
    help="Differentially private federated speech recognition.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("transcribe")(transcribe.transcribe)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("card")(card.card)
app.command("lm")(language_model.language_model)
app.command("pretrain")(pretrain.pretrain)
app.command("recipe")(recipe.recipe)
app.command("doctor")(doctor.doctor)
app.add_typer(corpus.app, name="corpus", help="Make and look at corpora.")
app.add_typer(ledger.app, name="ledger", help="Show or verify what has been spent on whose data.")
app.add_typer(deploy.app, name="deploy", help="Certificates, keys and the guest list of a deployment.")


def main() -> None:
    """Entry point of the console script."""
    sys.exit(app())
