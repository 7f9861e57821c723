"""`murmur pretrain`: make or adapt a model by central training, from a recipe that anyone can repeat."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from base.counts import count_of
from cli.corpus.options import place_here
from cli.exits import REFUSED
from cli.pretrain.recipe import SEED_RECIPE, CorpusChoice, PretrainRecipe, read_recipe
from cli.pretrain.screen import TrainingScreen, rates
from cli.pretrain.start import given_by
from privacy import Lineage, PrivacyError
from privacy.ledger.lineage import lineage_to_json
from recipes import ConfigError, corpus_path, feature_cache
from server.storage.ancestry import LINEAGE, lineage_of_start
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.loading import load_by_rules
from speech.model.checkpoint import save_model
from speech.pretraining import Pretrained, Snapshots, Start
from speech.pretraining import pretrain as train
from speech.pretraining.distributed import Processes, joined, launch

_SKIPPED_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What to train on what, and where to write it."""

    recipe: PretrainRecipe
    start: Start | None
    lineage: Lineage
    corpus: Corpus
    out: Path
    snapshots: Snapshots


def pretrain(
    out: Annotated[Path, typer.Option("--out", "-o", help="The model file to write.")],
    recipe: Annotated[
        Path, typer.Option("--recipe", help="How to train.", show_default="the shipped recipe")
    ] = SEED_RECIPE,
    model: Annotated[
        str | None,
        typer.Option(
            "--from", help="A pre-trained model (a folder, or owner/name), or a model file, to train further."
        ),
    ] = None,
    corpus_kind: Annotated[str | None, typer.Option("--corpus-kind", help="Instead of the recipe's.")] = None,
    corpus: Annotated[Path | None, typer.Option("--corpus-path", help="Instead of the recipe's.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training of this model that was interrupted.")
    ] = False,
    snapshot_every: Annotated[
        int, typer.Option("--snapshot-every", min=1, help="Steps between snapshots to resume from.")
    ] = 500,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes on this machine; one for each GPU.")
    ] = 1,
) -> None:
    """Train a model centrally, to start a federation from.

    While it trains, OUT.snapshot holds what --resume needs. To train on several machines, start this
    command by torchrun on each. A pre-trained model is trained by one process.
    """
    try:
        chosen = read_recipe(recipe, given_by(model) if model else None)
        _check_out(out)
        snapshots = Snapshots(path=out.with_name(f"{out.name}.snapshot"), every=snapshot_every, resume=resume)
        start, lineage = chosen.start, lineage_of_start(chosen.model)
        speech = _load(chosen.corpus, corpus_kind, corpus)
        job = _Job(recipe=chosen, start=start, lineage=lineage, corpus=speech, out=out, snapshots=snapshots)
        if processes > 1:
            launch(processes, _train, job)
        else:
            with joined() as members:
                _train(members, job)
    except (ValueError, OSError, PrivacyError) as error:
        _fail(error)


def _train(processes: Processes, job: _Job) -> None:
    """One process's part; the first shows what happens, and writes the model."""
    console = Console(quiet=not processes.first)
    config = job.recipe.pretrain
    with TrainingScreen(console, config) as screen:
        trained = train(
            job.corpus,
            config,
            start=job.start,
            processes=processes,
            snapshots=job.snapshots,
            feature_folder=feature_cache() if job.recipe.corpus.feature_cache else None,
            on_features=screen.features,
            on_step=screen.step,
            on_epoch=screen.epoch,
        )
    if processes.first:
        save_model(job.out, trained.model, job.recipe.model.name, _written(job))
        job.snapshots.discard()
        _summarise(console, trained, job)


def _written(job: _Job) -> dict[str, str]:
    """What the model file says of its making; of a private run's model, what that run has spent."""
    unused = None if job.recipe.model.is_preset else {"preset"}
    recipe = job.recipe.pretrain.model_dump_json(by_alias=True, exclude=unused)
    lineage = {LINEAGE: lineage_to_json(job.lineage)} if job.lineage else {}
    return {"corpus": job.corpus.digest, "recipe": recipe, **lineage}


def _load(choice: CorpusChoice, kind: str | None, path: Path | None) -> Corpus:
    """The corpus of the recipe, or of the command line, whose paths count from where one stands."""
    if path is None:
        # Another kind than the recipe's has nothing to do with the recipe's path.
        place = corpus_path(choice.kind, choice.path) if kind in (None, choice.kind) else ""
    else:
        place = place_here(kind or choice.kind, path)
    rules = Rules(max_seconds=choice.max_seconds, alphabet=choice.alphabet, unspelled=choice.unspelled)
    return load_by_rules(kind or choice.kind, place, rules)


def _check_out(out: Path) -> None:
    """Find out before the training, and not after it, that the model cannot be written."""
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; give the path of a file in it.")
    out.parent.mkdir(parents=True, exist_ok=True)


def _summarise(console: Console, trained: Pretrained, job: _Job) -> None:
    for skipped in trained.skipped[:_SKIPPED_SHOWN]:
        console.print(f"skipped {skipped.source}: {skipped.reason}", markup=False, soft_wrap=True)
    if trained.skipped:
        console.print(f"{count_of(len(trained.skipped), 'utterance')} skipped for unusable audio")
    if job.recipe.pretrain.keep == "best":
        for split, evaluation in trained.evaluations.items():
            console.print(f"kept: epoch {trained.kept}  {split}: {rates(evaluation)}", highlight=False)
    console.print(f"model: {job.out}", markup=False, highlight=False, soft_wrap=True)


def _fail(error: Exception) -> NoReturn:
    Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(REFUSED)
