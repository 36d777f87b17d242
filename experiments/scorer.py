"""The trusted measure of a trained model: bits per byte, and whether they may be believed.

Owns the validation text, the byte counts and the arithmetic; the model sees tokens and answers logits. Each check
answers one way of cheating (see `probes` for what is asked). Leaves out training. Rejected: any number that the script
computes.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments import job, probes
from experiments.instance import Form, Instance
from experiments.likelihood import Nats, NotFinite, RowScores, row_scores, surprise
from experiments.outcome import Control, Failed, OnEvent, Outcome, Phase, Progress
from experiments.reference import PairCounts
from experiments.supervisor import Watch
from experiments.track import Track, TrackData

MEAN_NATS_MAX = 2e-4  # of the signed difference between two answers to one question
LARGEST_NATS_MAX = {"cpu": 0.02}  # of a single difference; float32 on a processor agrees to about 1e-4
LARGEST_NATS_MAX_OTHER = 0.5  # bfloat16 kernels whose order of summation depends on the batch
AGAIN_SHARE = 8  # one row in so many is asked again in other company
GAP_SDS_MAX = 5.0  # a hold-out worse than the main slice by more than so many standard errors was trained on
LOAD_FREE_S = 10.0  # processor seconds to load a model and answer once: torch alone takes two or three
LOAD_SHARE = 0.05  # of the budget on top of it; more would be training outside the clock
GAP_MIN = 0.005  # and by more than this, in the metric's unit


@dataclass(frozen=True, slots=True)
class Questions:
    """All rows a model is judged on: the main slice first, then the hold-out; and what to splice in."""

    rows: probes.Rows  # (n, T + 1)
    main: int  # how many of them are the main slice
    fillers: probes.Rows


class Session:
    """Two running instances of one model, and the time they have."""

    def __init__(self, track: Track, first: Instance, second: Instance, control: Control, on_event: OnEvent) -> None:
        self.first, self.second = first, second
        self._track = track
        self._watch = Watch([first.box, second.box], control, may_freeze=track.clock == "cpu")
        self._deadline = self._watch.now() + track.score_s_max
        self._load_s_max = LOAD_FREE_S + LOAD_SHARE * track.budget_s if track.clock == "cpu" else math.inf
        self._loading = True  # until an instance has answered once; from then on its answers may not change any more
        self._on_event = on_event
        self.batches_all = 1
        self._batches = 0

    def look(self) -> None:
        """Return while there is time left and all is well. Raises Failed."""
        self._watch.look()
        if self._watch.now() > self._deadline:
            raise Failed("timed_out", f"the model was not scored within {self._track.score_s_max:g} s")
        if self._loading and any(box.cpu_s() > self._load_s_max for box in self._watch.boxes):
            bound = f"{self._load_s_max:g} processor seconds"
            raise Failed("timed_out", f"loading the model and a first answer took more than {bound}")

    def cpu_s(self) -> float:
        """Return the processor seconds that both instances have used so far, their start included."""
        return self.first.box.cpu_s() + self.second.box.cpu_s()

    def begin(self) -> None:
        """Return when both models are loaded and the second holds still. Raises Failed.

        The two never run at once while rows are answered: the first, which sees whole rows, could otherwise tell the
        second what follows, if only by keeping a processor busy.
        """
        self.first.wait_ready(self.look)
        self.second.wait_ready(self.look)
        self._watch.boxes = [self.first.box]
        self.second.box.freeze()

    def turn(self) -> None:
        """End the first instance, then let the second go on."""
        self.first.box.kill()
        self.second.box.thaw()
        self._loading = True
        self._watch.boxes = [self.second.box]

    def surprises(self, instance: Instance, tokens: NDArray[np.int64], targets: NDArray[np.int64]) -> Nats:
        """Return -ln p(target) (batches, R, T) of one instance for tokens and targets of that shape. Raises Failed."""
        out = np.empty(tokens.shape)
        try:
            for index, logits in enumerate(instance.answers(list(tokens), self.look)):
                self._loading = False
                flat = logits.reshape(-1, logits.shape[-1])
                out[index] = surprise(flat, targets[index].ravel()).reshape(tokens.shape[1:])
                self._batches += 1
                left_s = self._deadline - self._watch.now()
                self._on_event(Progress(min(1.0, self._batches / self.batches_all), left_s))
        except NotFinite as error:
            raise Failed("refused", str(error)) from error
        return out


def measure(task: job.Task, data: TrackData, weights: Path, on_event: OnEvent, control: Control) -> Outcome:
    """Return the outcome of scoring the weights through the script's load_model. Raises Failed."""
    on_event(Phase("scoring"))
    own_s = time.process_time()
    with contextlib.ExitStack() as held:
        shape = (task.track.batch_rows, task.track.seq_len)
        forms = {"question": Form("int64", shape), "answer": Form("float32", (*shape, task.track.vocab_size))}
        first = held.enter_context(Instance(task, "score-a", weights, **forms))
        second = held.enter_context(Instance(task, "score-b", weights, **forms))
        session = Session(task.track, first, second, control, on_event)
        questions = gather(task.track, data, hashlib.sha256(task.source).digest())
        reference = PairCounts(data.train_path, task.track.vocab_size).surprise(questions.rows)
        session.begin()
        seed = secrets.randbits(52)  # after the script is loaded: nothing in it can know what will be asked
        nats, checks = _ask(session, task, questions, reference, np.random.default_rng(seed))
        checks |= {"probe_seed": seed, "score_cpu_s": session.cpu_s() + time.process_time() - own_s}
    return judge(questions, nats, reference, data.token_bytes, checks)


def gather(track: Track, data: TrackData, digest: bytes) -> Questions:
    """Return the rows that a source with this SHA-256 is judged on."""
    holdout = probes.choose_holdout(len(data.pool_rows), track.holdout_rows, digest)
    rest = np.setdiff1d(np.arange(len(data.pool_rows)), holdout)
    rows = np.concatenate([data.main_rows, data.pool_rows[holdout]]).astype(np.int64)
    return Questions(rows, len(data.main_rows), data.pool_rows[rest].astype(np.int64))


def _ask(
    session: Session, task: job.Task, questions: Questions, reference: Nats, generator: np.random.Generator
) -> tuple[Nats, dict[str, float]]:
    """Return the nats (n, T) of every row by the first instance, and how far other answers differ. Raises Failed."""
    track, rows = task.track, questions.rows
    layout = probes.lay_out(len(rows), track.batch_rows, generator)
    again_rows = generator.permutation(len(rows))[: max(track.batch_rows, len(rows) // AGAIN_SHARE)]
    again = probes.lay_out(len(again_rows), track.batch_rows, generator)
    batches = max(1, min(track.probes // track.batch_rows, len(layout.table)))
    session.batches_all = len(layout.table) + len(again.table) + batches

    asked = rows[layout.table]
    answered = session.surprises(session.first, asked[..., :-1], asked[..., 1:])
    nats = np.empty((len(rows), track.seq_len))
    nats[layout.table[layout.first]] = answered[layout.first]

    table = again_rows[again.table]
    asked = rows[table]
    repeated = session.surprises(session.first, asked[..., :-1], asked[..., 1:])
    checks = _compare("again", repeated - nats[table], task.device)

    session.turn()
    search = probes.Search(rows, questions.main, questions.fillers, layout, reference - nats, generator)

    def lost(probe: probes.Probe) -> Nats:
        return session.surprises(session.second, probe.tokens, rows[probe.row][..., 1:]) - nats[probe.row]

    checks |= examine(search, batches, lost, task.device)
    checks["probes"] = float(batches * track.batch_rows)
    return nats, checks


def examine(search: probes.Search, batches: int, lost: Callable[[probes.Probe], Nats], device: str) -> dict[str, float]:
    """Return how far the second instance's answers differ from the first's; `lost` asks it a probe (batches, R, T).

    Raises Failed when they differ where the two were shown the same.
    """
    before, at_cut = [], []
    for probe in search.probes(batches):
        differences = lost(probe)
        search.learn(probe, differences)
        before.append(differences[np.arange(differences.shape[-1]) < probe.cut[..., None]])
        at_cut.append(np.take_along_axis(differences, probe.cut[..., None], axis=-1).ravel())
    checks = _compare("prefix", np.concatenate(at_cut), device)
    return checks | _compare("before", np.concatenate(before), device)


def _compare(name: str, differences: NDArray[np.float64], device: str) -> dict[str, float]:
    """Return the mean and the largest of the differences between two answers. Raises Failed when they disagree."""
    mean = float(differences.mean()) if differences.size else 0.0
    largest = float(np.abs(differences).max()) if differences.size else 0.0
    checks = {f"{name}_mean_nats": mean, f"{name}_largest_nats": largest}
    bound = LARGEST_NATS_MAX.get(device.partition(":")[0], LARGEST_NATS_MAX_OTHER)
    if abs(mean) > MEAN_NATS_MAX or largest > bound:
        what = {
            "again": "the model answers the same rows differently among other rows, or the second time",
            "prefix": "the model answers differently when later text is exchanged: it looks ahead or remembers",
            "before": "the model answers differently when much later text is exchanged: it looks ahead or remembers",
        }[name]
        raise Failed("refused", f"{what} (mean {mean:.2g}, largest {largest:.2g} nats)", checks)
    return checks


def judge(
    questions: Questions, nats: Nats, reference: Nats, token_bytes: NDArray[np.int32], checks: dict[str, float]
) -> Outcome:
    """Return the outcome from the nats (n, T) of all rows: value, hold-out, and how far they are apart.

    The gap is freed from what the reference (n, T) explains, so that an easy slice is not taken for honesty, nor a
    hard one for a cheat. Its noise is the hold-out's: honestly, rows of the main slice scatter alike, and rows known
    by heart would only add noise for the gap to hide in. For the gap no row counts as worse than the reference, or a
    model could be as bad as it likes at the hold-out to the same end. Raises Failed when the hold-out is worse than
    the main slice far beyond its noise.
    """
    targets = questions.rows[:, 1:]
    scores, plain = row_scores(nats, targets, token_bytes), row_scores(reference, targets, token_bytes)
    main, holdout = _slices(scores, questions.main)
    main_plain, holdout_plain = _slices(plain, questions.main)
    value, holdout_value = main.bits_per_byte, holdout.bits_per_byte
    if not math.isfinite(value):
        raise Failed("refused", "the main slice holds no text that could be scored", checks)
    main, holdout = _slices(RowScores(np.minimum(scores.nats, plain.nats), scores.bytes), questions.main)
    slope = _slope(holdout, holdout_plain)
    gap = holdout.bits_per_byte - main.bits_per_byte - slope * (holdout_plain.bits_per_byte - main_plain.bits_per_byte)
    gap_sd = _gap_sd(RowScores(holdout.nats - slope * holdout_plain.nats, holdout.bytes), main)
    checks["holdout_raw_gap"] = holdout_value - value
    if gap > GAP_MIN and gap > GAP_SDS_MAX * gap_sd:
        how = f"the model is worse by {gap:.3f} ± {gap_sd:.3f} on held-out text"
        raise Failed("refused", f"{how}: it knows the validation text by heart", checks)
    return Outcome(
        "scored", value=value, holdout=holdout_value, holdout_gap=gap,
        holdout_gap_sd=gap_sd if math.isfinite(gap_sd) else None, checks=checks,
    )  # fmt: skip


def _slices(scores: RowScores, main: int) -> tuple[RowScores, RowScores]:
    return (
        RowScores(scores.nats[:main], scores.bytes[:main]),
        RowScores(scores.nats[main:], scores.bytes[main:]),
    )


def _residuals(scores: RowScores) -> Nats:
    """Return by how many nats each row is harder than its slice, for its bytes."""
    per_byte = float(scores.nats.sum()) / max(1, int(scores.bytes.sum()))
    return scores.nats - per_byte * scores.bytes


def _slope(scores: RowScores, plain: RowScores) -> float:
    """Return how much of the reference's difficulty of a row the model shares (least squares through zero)."""
    own, other = _residuals(scores), _residuals(plain)
    power = float(other @ other)
    return float(own @ other) / power if power > 0 else 0.0


def _gap_sd(holdout: RowScores, main: RowScores) -> float:
    """Return the standard error of hold-out minus main in bits per byte, if both scatter as the hold-out does."""
    if not main.bytes.sum():
        return math.inf
    mean_bytes = holdout.bytes.sum() / len(holdout.bytes)
    rows_of_main = main.bytes.sum() / mean_bytes
    return holdout.sd * math.sqrt(1 + len(holdout.bytes) / rows_of_main) if math.isfinite(holdout.sd) else math.inf
