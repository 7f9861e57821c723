"""Whatever a speaker's training does to its process, only that speaker counts as zero."""

import ctypes
import os
import pickle
import resource
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch

from client.training import process as process_module
from client.training.process import SpeakerProcess
from client.training.process_loop import SpeakerBudget, data_bytes
from client.training.process_messages import FRAME_BYTES, Ready, Trained, encode
from client.training.speaker_round import SpeakerRound

BUDGET = SpeakerBudget(processor_seconds=0.5, memory_megabytes=64)


class Deeds:
    """A training in which what a speaker is called is what is done."""

    frozen = "frozen"

    def __init__(self, memory):
        self.memory, self.kept = memory, []

    def warm_up(self):
        self.memory[-1] = 0
        return 0.1

    def train(self, speaker_round, split, vector, correction):
        getattr(self, speaker_round.speaker)()
        self.memory[: len(vector)] = 2 * vector
        return Trained(loss=1.5, steps=os.getpid())

    def trains(self):
        pass

    def computes_a_little(self):
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    def raises(self):
        raise ValueError("no")

    def exits(self):
        os._exit(0)

    def crashes(self):
        ctypes.string_at(0)

    def is_killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def computes(self):
        while True:
            sum(range(1000))

    def computes_and_ignores_interrupts(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torch.zeros(64, 64).matmul(torch.zeros(64, 64)).sum().item()
        self.computes()

    def allocates(self):
        self.kept = [bytearray(8 * 1024**2) for _ in range(100)]

    def allocates_a_tensor(self):
        torch.zeros(800 * 1024**2 // 4)

    def leaves_much(self):
        """Freed, and not given back: one piece lies above the others."""
        below = [bytearray(60_000) for _ in range(900)]
        self.kept = bytearray(60_000)
        del below

    def needs_too_much(self):
        _ = [bytearray(60_000) for _ in range(1350)]

    def waits(self):
        time.sleep(3600)

    def goes_on_writing(self):
        """Reports, and leaves a process behind that changes the update for some seconds."""
        if os.fork() == 0:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                self.memory += 1
            os._exit(0)

    def is_replaced_by(self, code):
        """What a decoder that was taken over may do with the pipe `reports`, which the parent reads."""
        reports = max(number for number in map(int, os.listdir("/proc/self/fd")) if _is_an_open_pipe(number))
        exec(code, {"os": os, "reports": reports, "time": time, "signal": signal})

    def sends_a_pickle(self):
        self.is_replaced_by(f"os.write(reports, {pickle.dumps(Bomb()).ljust(FRAME_BYTES, b'0')!r})")

    def sends_half_a_report(self):
        self.is_replaced_by("os.write(reports, b'1234'); time.sleep(3600)")

    def trickles(self):
        self.is_replaced_by("while True: os.write(reports, b'1'); time.sleep(0.02)")

    def ignores_every_signal(self):
        self.is_replaced_by(
            "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGPROF, signal.SIGALRM)]; time.sleep(3600)"
        )

    def dies_of_an_odd_signal(self):
        self.is_replaced_by("os.kill(os.getpid(), 41); time.sleep(3600)")

    def reports_early(self):
        """A report on the order of this number comes before the update is there, and then the true one."""
        forged = encode(Trained(loss=0.5, steps=1), order=2)
        self.memory[-1] = 7  # and stays, in this process
        self.is_replaced_by(f"os.write(reports, {forged!r})")
        time.sleep(0.2)

    def reports_twice(self):
        self.is_replaced_by(f"os.write(reports, {encode(Trained(loss=0.5, steps=1))!r})")


def _is_an_open_pipe(number):
    try:
        place, mode = os.readlink(f"/proc/self/fd/{number}"), Path(f"/proc/self/fdinfo/{number}").read_text()
    except OSError:
        return False
    return number > 2 and place.startswith("pipe:") and int(mode.split("flags:")[1].split()[0], 8) & 1


class Bomb:
    """Unpickled, it leaves a file."""

    def __reduce__(self):
        return Path.touch, (BOMB,)


BOMB = Path(tempfile.gettempdir()) / f"bomb-{os.getpid()}"


def turn(what):
    return SpeakerRound(run="r", round_number=1, speaker=what)


@pytest.fixture(scope="module")
def process():
    made = SpeakerProcess(Deeds, size=3, room=5, budget=BUDGET)
    made.load(torch.tensor([1.0, 2.0, 3.0]))
    yield made
    made.close()


def test_a_training_leaves_an_update_in_memory(process):
    update, report = process.train(turn("trains"), "train")
    assert update.tolist() == [2.0, 4.0, 6.0, 0.0, 0.0]
    assert report.loss == 1.5 and report.steps != os.getpid()
    assert process.ready == Ready(frozen="frozen", longest_seconds=0.1)


@pytest.mark.parametrize(
    "deed",
    [
        *("raises", "exits", "crashes", "is_killed"),
        *("computes", "computes_and_ignores_interrupts", "allocates", "allocates_a_tensor"),
    ],
)
def test_what_one_does_costs_the_others_nothing(process, deed):
    expected = process.train(turn("trains"), "train")[0].clone()
    assert process.train(turn(deed), "train") is None
    after, _ = process.train(turn("trains"), "train")
    assert torch.equal(after, expected)


DEEDS = ("trains", "raises", "computes_a_little", "crashes", "trains", "exits")


def test_speakers_that_are_trained_one_behind_the_other_have_the_same_updates(process):
    """Each begins while the caller has the update of the one before, which stays as it was taken."""
    alone = [copied(process.train(turn(deed), "train")) for deed in DEEDS]
    asked, seen = [], []

    def turns():
        for deed in DEEDS:
            asked.append(deed)
            yield turn(deed)

    for result in process.train_each(turns(), "train"):
        seen.append(copied(result))
        assert len(asked) == min(len(seen) + 1, len(DEEDS))
        time.sleep(0.05)
        assert copied(result) == seen[-1]
    assert seen == alone and [one is None for one in seen] == [False, True, False, True, False, True]
    assert list(process.train_each([], "train")) == []


def copied(result):
    return result and (result[0].tolist(), result[1].loss)


def test_no_later_speaker_gets_the_update_of_one_that_reported_too_early():
    """The true report comes when the next one is waited for, and is refused by its number; or before that."""
    process = SpeakerProcess(Deeds, size=3, room=5, budget=BUDGET)
    process.load(torch.tensor([1.0, 2.0, 3.0]))
    deeds = ("trains", "reports_early", "trains", "computes_a_little", "trains")
    seen = [copied(one) for one in process.train_each(map(turn, deeds), "train")]
    assert seen[1][1] == 0.5  # what a process that was taken over says of its own speaker
    assert seen[2] is None or seen[2][0][-1] == 0
    assert [(one[0][-1], one[1]) for one in (seen[0], *seen[3:])] == [(0.0, 1.5)] * 3
    process.close()


def test_a_training_that_was_left_has_no_result(process):
    results = process.train_each([turn("trains"), turn("trains")], "train")
    assert next(results)
    process.close()
    assert next(results) is None
    others = process.train_each([turn("trains"), turn("trains")], "train")
    assert next(others)
    assert process.train(turn("trains"), "train")  # takes the place of what `others` ordered
    assert next(others) is None
    assert process.train(turn("trains"), "train")


def test_who_stops_ends_the_training_that_is_under_way(process):
    """It would go on to keep features of a speaker who may have left."""
    before = process.train(turn("trains"), "train")[1].steps
    results = process.train_each([turn("trains"), turn("computes")], "train")
    next(results)
    results.close()
    assert not Path(f"/proc/{before}").exists()
    assert process.train(turn("trains"), "train")[1].steps != before


def test_where_no_process_can_be_forked_a_speaker_counts_as_zero(process, monkeypatch):
    process.close()

    def fails(self):
        raise BlockingIOError("no more processes")

    with monkeypatch.context() as without:
        without.setattr(process_module._FORK.Process, "start", fails)
        assert process.train(turn("trains"), "train") is None
    assert process.train(turn("trains"), "train")


@pytest.mark.parametrize("seconds", [0.0, 0.3], ids=["while it trains", "when it has trained"])
def test_what_was_ordered_and_not_waited_for_is_nobodys_update(process, seconds):
    """A node that cannot add an update leaves the next one, and with it the report, behind."""
    expected = copied(process.train(turn("trains"), "train"))
    results = process.train_each([turn("trains"), turn("computes_a_little")], "train")
    before = next(results)[1].steps
    time.sleep(seconds)
    update, report = process.train(turn("trains"), "train")
    assert copied((update, report)) == expected
    assert report.steps != before  # of another process
    results.close()


def test_a_budget_is_for_one_speaker_not_for_all(process):
    """Trainings that would pass the budget together all succeed."""
    began = process.train(turn("trains"), "train")[1].steps
    for _ in range(50):
        assert process.train(turn("computes_a_little"), "train")[1].steps == began  # the same process still


def test_a_training_that_stands_still_is_ended(process, monkeypatch, caplog):
    monkeypatch.setattr(process_module, "POLL_SECONDS", 0.1)
    assert process.train(turn("waits"), "train") is None
    assert "stood still for more than the 0.5 seconds" in caplog.text
    assert process.train(turn("trains"), "train")


def test_the_log_names_the_budget_that_was_passed(process, caplog):
    process.train(turn("computes"), "train")
    assert "computed for more than the 0.5 seconds that local.processor-seconds allows" in caplog.text


def test_a_process_with_a_failed_training_is_not_used_again(process):
    """What it left behind (open files, memory) would change what the next can do."""
    before = process.train(turn("trains"), "train")[1].steps
    assert process.train(turn("raises"), "train") is None
    assert process.train(turn("trains"), "train")[1].steps != before


class Full(Deeds):
    """Without the free memory that this test's process hands on, in whichever of the allocator's arenas."""

    def warm_up(self):
        self.filler, failed = [], 0
        limits = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes(), limits[1]))
        while failed < 100:
            try:
                self.filler.append(bytearray(60_000))
            except MemoryError:
                failed += 1
        resource.setrlimit(resource.RLIMIT_DATA, limits)
        return super().warm_up()


def leave_free_memory():
    """Free memory in arenas of other threads, which the allocator uses once its own has reached the limit."""
    above = []

    def allocate():
        below = [bytearray(60_000) for _ in range(700)]
        above.append(bytearray(60_000))
        del below

    threads = [threading.Thread(target=allocate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return above


def test_memory_that_one_leaves_is_not_the_next_ones():
    """80 megabytes in small pieces, where 64 are given, fail whoever was there before."""
    _ = leave_free_memory()
    process = SpeakerProcess(Full, size=3, room=5, budget=BUDGET)
    assert process.train(turn("needs_too_much"), "train") is None
    assert process.train(turn("leaves_much"), "train")
    assert process.train(turn("needs_too_much"), "train") is None
    process.close()


def test_a_crash_writes_no_speech_to_a_disk():
    """Wherever cores go here: the process allows none."""

    class Looks(Deeds):
        def trains(self):
            self.memory[-1] = float(resource.getrlimit(resource.RLIMIT_CORE) != (0, 0))

    process = SpeakerProcess(Looks, size=1, room=2, budget=BUDGET)
    assert process.train(turn("trains"), "train")[0][-1] == 0
    process.close()


def test_a_process_that_goes_on_writing_changes_nothing_that_was_taken():
    """Or what was measured at the clip would not be what is added."""
    process = SpeakerProcess(Deeds, size=3, room=5, budget=BUDGET)
    update, _ = process.train(turn("goes_on_writing"), "train")
    shared, kept = process._update.clone(), update.clone()
    deadline = time.monotonic() + 20
    while torch.equal(process._update, shared):
        assert time.monotonic() < deadline, "it does not go on"
        time.sleep(0.01)
    assert torch.equal(update, kept)
    process.close()


@pytest.mark.parametrize(
    "deed",
    [
        *("sends_a_pickle", "sends_half_a_report", "trickles", "ignores_every_signal"),
        "dies_of_an_odd_signal",
    ],
)
def test_a_process_that_was_taken_over_is_ended_and_nothing_it_sends_is_run(process, monkeypatch, deed):
    monkeypatch.setattr(process_module, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(process_module, "_END_SECONDS", 0.5)
    expected = process.train(turn("trains"), "train")[0].clone()
    began = time.monotonic()
    assert process.train(turn(deed), "train") is None
    assert time.monotonic() - began < 10
    assert not BOMB.exists()
    assert torch.equal(process.train(turn("trains"), "train")[0], expected)


def test_an_answer_to_nothing_is_nobodys(process):
    """The process that sent it is replaced before the next speaker's turn."""
    process.train(turn("reports_twice"), "train")
    assert process.train(turn("trains"), "train")[1].loss == 1.5


def test_who_comes_after_a_process_that_died_in_between_is_trained(process):
    before = process.train(turn("trains"), "train")[1].steps
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    assert process.train(turn("trains"), "train")[1].steps != before


def test_waiting_for_a_processor_is_nobodys_time():
    """Where others compute, a training takes longer by the clock and not by its budget."""
    early = process_module._Clock(now=10.0, waited=1.0)
    assert early.seconds_to(process_module._Clock(now=16.0, waited=6.5)) == pytest.approx(0.5)
    assert early.seconds_to(process_module._Clock(now=16.0, waited=0.0)) == pytest.approx(6.0)


def test_what_keeps_the_process_from_starting_is_raised():
    def fails(memory):
        raise FileNotFoundError("no seed model")

    with pytest.raises(FileNotFoundError, match="no seed model"):
        SpeakerProcess(fails, size=1, room=1, budget=BUDGET)

    def dies(memory):
        os._exit(3)

    with pytest.raises(RuntimeError, match="code 3"):
        SpeakerProcess(dies, size=1, room=1, budget=BUDGET)


def test_where_no_process_can_be_had_speakers_count_as_zero(monkeypatch):
    process = SpeakerProcess(Deeds, size=1, room=1, budget=BUDGET)
    process.close()
    monkeypatch.setattr(process, "_start", lambda: 1 / 0)
    assert process.train(turn("trains"), "train") is None


class Stuck(Deeds):
    def warm_up(self):
        self.waits()


def test_a_process_that_does_not_become_ready_again_is_given_up(monkeypatch):
    """Else one failed training could keep the node from ever answering."""
    monkeypatch.setattr(process_module, "POLL_SECONDS", 0.1)
    process = SpeakerProcess(Deeds, size=1, room=2, budget=BUDGET)
    process._make, process._start_seconds = Stuck, 0.1
    assert process.train(turn("exits"), "train") is None
    assert process.train(turn("trains"), "train") is None
    process._make, process._start_seconds = Deeds, 60.0
    assert process.train(turn("trains"), "train")
    process.close()


def test_it_holds_none_of_its_parents_files(tmp_path):
    """A lock or a connection of the parent's would live on with it."""
    with (tmp_path / "held").open("w") as held:

        class Looks(Deeds):
            def trains(self):
                there = os.readlink(f"/proc/self/fd/{held.fileno()}")
                self.memory[-1] = float(there == os.devnull)

        process = SpeakerProcess(Looks, size=1, room=2, budget=BUDGET)
        assert process.train(turn("trains"), "train")[0][-1] == 1
        process.close()


def test_it_ends_with_its_parent():
    read, write = os.pipe()
    if (parent := os.fork()) == 0:
        process = SpeakerProcess(Deeds, size=1, room=1, budget=BUDGET)
        os.write(write, str(process.train(turn("trains"), "train")[1].steps).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    child = int(os.read(read, 20))
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # ended, and only its parent may collect it
        time.sleep(0.02)
    else:
        assert not os.path.exists(f"/proc/{child}")
    os.close(read), os.close(write)
