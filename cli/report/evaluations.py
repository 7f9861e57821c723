"""Files that `murmur evaluate --json` wrote, and which run each of them is of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.report.run_facts import RunFacts
from cli.report.schemas import EvaluationFile, checked
from recipes import ConfigError
from speech.evaluation.edit_table import columns

_REMEDY = "give a file that `murmur evaluate --run RUN --json` wrote"


def read_evaluation(path: Path) -> Mapping[str, Any]:
    """Return the content of a file. Raises `ConfigError` if it is not what `murmur evaluate --json`
    writes."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--evaluation {path}: cannot be read ({error.strerror}); {_REMEDY}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--evaluation {path}: is no JSON ({error}); {_REMEDY}") from None
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("wer"), dict)
        or not {"model", "warnings"} <= set(found)
    ):
        raise ConfigError(f"--evaluation {path}: has no error rates of a model with warnings; {_REMEDY}")
    checked(EvaluationFile, found, f"--evaluation {path}", _REMEDY)
    return found


def by_run(files: Sequence[Path], runs: Sequence[RunFacts]) -> dict[str, Mapping[str, Any]]:
    """The evaluations by the ids of their runs: the run that the model's file names, or whose folder has it.

    Raises:
        ConfigError: If a file is of none of the runs, or two are of one.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for path in files:
        content = read_evaluation(path)
        folder = Path(str(content["model"])).resolve().parent
        made_by = content.get("run")  # its folder may have been moved since
        own = [
            one for one in runs if (one.run == made_by if made_by else one.folder.path.resolve() == folder)
        ]
        if not own:
            raise ConfigError(
                f"--evaluation {path}: is of the model {content['model']}, which none of these runs made; "
                "evaluate the model of the run"
            )
        run = own[0].run
        if run in found:
            raise ConfigError(f"--evaluation {path}: a second evaluation of one run; give one a run")
        found[run] = content
    return found


def aligned(utterance: Mapping[str, Any]) -> list[dict[str, str]]:
    """The words of a transcript below those that were said, with the kind of each error."""
    found = columns(str(utterance.get("reference", "")), str(utterance.get("hypothesis", "")))
    return [{"kind": one.kind, "said": one.reference, "model": one.hypothesis} for one in found]
