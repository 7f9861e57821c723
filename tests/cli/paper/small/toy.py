"""A study that takes seconds, and runs that take none."""

from cli.paper.results.record import write_result
from cli.paper.small.experiments import read_study
from cli.paper.small.jobs import Jobs
from cli.paper.small.speech import Source
from tests.cli.paper.results.made import made

STUDY = """
seeds = [1, 2]
tuning-seed = 1
dev-share = 0.34
note = "A toy."

[settings]
training.rounds = 1
training.cohort = 2.0
privacy.noise-multiplier = 0.0
privacy.delta = 1e-3
corpus.feature-cache = false
run.sentences-shown = 0

[full]
training.rounds = 2

[[cells]]
name = "central"
trainer = "central"
settings = { steps = 1, batch-size = 2 }

[[cells]]
name = "start"
start = "random"
speakers = "iid"

[[cells]]
name = "noise"
settings = { "privacy.clip-bound" = 0.1 }
sweep = { "privacy.clip-rule" = ["global", "dim"], "privacy.noise-multiplier" = [0.5, 1.0] }
tune = { "server.learning-rate" = [0.01, 0.02] }

[[experiments]]
name = "noise"
title = "Noise"
question = "What does noise cost?"
setting = "A toy."
cells = ["noise"]
x = "privacy.noise-multiplier"

[[experiments.claims]]
text = "noise costs"
key = "privacy.noise-multiplier"
against = "0.5"
expect = "above"

[[experiments]]
name = "start"
title = "Start"
question = "Which is better?"
setting = "A toy."
cells = ["central", "start"]

[[experiments.claims]]
text = "central training is better"
of = "central"
against = "start"
expect = "below"

[[experiments.claims]]
text = "within a tenth"
of = "start"
against = "central"
expect = "ratio-below"
margin = 0.1
"""


def study_file(folder, text=STUDY):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "toy.toml"
    file.write_text(text)
    return file


def toy_jobs(folder, text=STUDY, **options):
    return Jobs(study=read_study(study_file(folder, text), **options), source=Source())


class Maker:
    """Makes a result at once: the fewer errors, the higher its learning rate and the lower its noise."""

    def __init__(self, fail_at=None):
        self.made, self._fail_at = [], fail_at

    def __call__(self, job, share, prepared, folder):
        if len(self.made) == self._fail_at:
            raise KeyboardInterrupt
        settings = job.cell.settings
        errors = 8 + 4 * (settings.get("privacy.noise-multiplier") == 1.0)
        errors -= 3 * (settings.get("server.learning-rate") == 0.02)
        write_result(
            job.path(folder),
            made(
                job.group,
                job.seed,
                counts=((errors, 20), (errors + job.seed, 20)),
                purpose=job.purpose,
                name=job.name,
                settings=dict(settings),
                model={"name": "tiny", "start": job.cell.start, "parameters": 10, "trained": 10},
                data={
                    "name": job.source.name,
                    "speakers": job.cell.speakers,
                    "digest": "0" * 64,
                    "split": job.split,
                },
                curve=({"round": 0, "wer": 0.5}, {"round": 1, "wer": 0.4}),
            ),
        )
        self.made.append(job.name)
        return job.path(folder)
