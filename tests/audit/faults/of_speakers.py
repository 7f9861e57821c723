"""Faults in the identity of speakers, and in the isolation of one speaker's training from another's."""

import client.node
from speech.corpora.corpus import Corpus
from tests.audit.faults.planting import fault
from tests.audit.stage import WANTED, Stage


@fault("two speakers with one name count twice", "sensitivity")
def _(patch):
    speakers = Corpus.speakers
    patch.setattr(
        Corpus,
        "speakers",
        lambda self, split: tuple(n for name in speakers(self, split) for n in [name] * (1 + (name == "c"))),
    )


# Nothing is planted here: two nodes hold the person. Registration refuses that, and is not part of the stage.
fault(
    "one person on two nodes",
    "sensitivity",
    recorded=Stage(at=(1, 2)),
    replayed=Stage(at=(1, 2), kind="ordinary speech"),
)(None)


@fault("seeded by a speaker's position", "changed", recorded=Stage(person=""), replayed=Stage(person="a"))
def _(patch):
    utterances = Corpus.utterances

    def by_position(self, split, speaker):
        found = utterances(self, split, speaker)
        return found[:: -1 if list(self.speakers(split)).index(speaker) % 2 else 1]

    patch.setattr(Corpus, "utterances", by_position)


@fault("one speaker's fault ends the node's round", "answer", replayed=Stage(kind="a decoder that raises"))
def _(patch):
    train = client.node.Node.train

    def brittle(self, task, *rest):
        total, raw = train(self, task, *rest)
        speakers = next(one for one in rest if isinstance(one, tuple | list))
        if "c" in (speakers[number] for number in task.speakers):
            raise RuntimeError("the process is gone")
        return total, raw

    patch.setattr(client.node.Node, "train", brittle)


# Without its budget, the training of one speaker makes the whole node late or dead.
SECONDS = {"local.processor-seconds": 60.0}  # with the memory as well: a busy machine takes longer to give it
for name, kind, lifted in (
    ("speech without end", "400 times the utterances", {"local.most-utterances": 2000}),
    ("computing without end", "a decoder that computes for ever", SECONDS),
    ("memory without end", "a decoder that takes memory", {"local.memory-megabytes": 4096, **SECONDS}),
):
    fault(name, "answer", replayed=Stage(kind=kind))(
        lambda patch, lifted=lifted: [patch.setitem(WANTED, *one) for one in lifted.items()]
    )
