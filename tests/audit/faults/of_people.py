"""Faults of who is who, and of what one speaker's turn has to do with another's."""

import client.node
from speech.corpus import Corpus
from tests.audit.faults.planting import fault
from tests.audit.stage import Stage


@fault("two people with one name count twice", "sensitivity")
def _(patch):
    speakers = Corpus.speakers
    patch.setattr(
        Corpus,
        "speakers",
        lambda self, split: tuple(n for name in speakers(self, split) for n in [name] * (1 + (name == "c"))),
    )


# Nothing is planted here: two nodes hold the person. What refuses that is the roll call, not on stage here.
fault(
    "one person on two nodes",
    "sensitivity",
    recorded=Stage(at=(1, 2)),
    replayed=Stage(at=(1, 2), kind="ordinary speech"),
)(None)


@fault("seeded by a speaker's position", "moved", recorded=Stage(person=""), replayed=Stage(person="a"))
def _(patch):
    utterances = Corpus.utterances

    def by_position(self, split, speaker):
        said = utterances(self, split, speaker)
        return said[:: -1 if list(self.speakers(split)).index(speaker) % 2 else 1]

    patch.setattr(Corpus, "utterances", by_position)


@fault("one speaker's fault ends the node's round", "answer", replayed=Stage(kind="a decoder that raises"))
def _(patch):
    train = client.node.Node.train

    def brittle(self, task, vector, people, *rest):
        total, raw = train(self, task, vector, people, *rest)
        if "c" in (people[number] for number in task.speakers):
            raise RuntimeError("the process is gone")
        return total, raw

    patch.setattr(client.node.Node, "train", brittle)
