"""Faults in what is sent or shown beside the release."""

import zlib
from dataclasses import replace

import numpy as np
from flwr.app import Array, ArrayRecord

import server.report.metrics
from privacy.released_metrics import read_statistics
from strategies import DPFedOpt
from tests.audit.faults.planting import everywhere, fault
from tests.audit.stage import Stage
from wire.messages import Answer


@fault("counts in clear", "metadata", recorded=Stage(person="g"), replayed=Stage(person=""))
def _(patch):
    as_metrics = server.report.metrics.as_metrics
    everywhere(patch, as_metrics, lambda row: {**as_metrics(row), "drawn": row.report.drawn})


@fault("metrics in clear", "metadata")
def _(patch):
    release = DPFedOpt._release
    plain = []

    def remembering(self, number, total):
        plain.append(total.integers[self.bounds.statistics_part].double())
        return release(self, number, total)

    patch.setattr(DPFedOpt, "_release", remembering)
    everywhere(patch, read_statistics, lambda _, *rest: read_statistics(plain[-1], *rest))


@fault("a reply has more than a sum", "extra", recorded=None)
def _(patch):
    to_record = Answer.to_record

    def with_more(self):
        record = to_record(self)
        record["answer"]["mean"] = float(self.packed.mean())
        return record

    patch.setattr(Answer, "to_record", with_more)


@fault("a reply is as long as there was to learn", "length", recorded=None)
def _(patch):
    to_record, from_message = Answer.to_record, Answer.from_message.__func__

    def compressed(self):
        record = to_record(self)
        short = np.frombuffer(zlib.compress(self.packed.tobytes()), dtype=np.uint8)
        record["sum"] = ArrayRecord({"packed": Array(short)})
        return record

    def whole(cls, message):
        answer = from_message(cls, message)
        return replace(answer, packed=np.frombuffer(zlib.decompress(answer.packed.tobytes()), dtype=np.uint8))

    patch.setattr(Answer, "to_record", compressed)
    patch.setattr(Answer, "from_message", classmethod(whole))
