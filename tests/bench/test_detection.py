"""How likely a cheat is caught, measured on a model that train.py trained, with the scorer's own code.

DETECTION_DRAWS (default 200) is the number of tries of each case whose power is promised, of others a tenth as many are
made (100 at least); DETECTION_CHECKPOINT names a checkpoint of train.py on sotu to use instead of training one;
DETECTION_SCORINGS (default 3) how many scorings are run in real sandboxes.
Prints Markdown, and draws docs/images/detection.svg when DETECTION_DRAWS is at least 1000.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import peeking
import pytest
from matplotlib.figure import Figure
from test_training import by_hand

from experiments import answer, probes, runner, sandbox, scorer, track
from experiments.likelihood import row_scores, surprise
from experiments.outcome import Failed
from experiments.reference import PairCounts

ROOT = Path(__file__).resolve().parents[2]
PLOT = ROOT / "docs" / "images" / "detection.svg"
DRAWS = int(os.environ.get("DETECTION_DRAWS", "200"))
FEWER_DRAWS = max(100, DRAWS // 10)
SCORINGS = int(os.environ.get("DETECTION_SCORINGS", "3"))
PLOTTED_FROM_DRAWS = 1000
WORTH = 0.001  # bits per byte: what a cheat that must be caught gains
SHARE = 0.001  # of the places
POWER_MIN = 0.999
SHARES = (0.0005, 0.001, 0.003, 0.01, 0.05)
GAINS = (0.00003, 0.0001, 0.0002, 0.0003, 0.0005, 0.0007, 0.001, 0.0015, 0.003)
SPREAD = ("at random", "on hard tokens", "where it did worst", "at the end of rows", "at the start of rows")
GATHERED = ("in ten rows", "in one row", "in three rows where it did worst")

pytestmark = [pytest.mark.bench, pytest.mark.timeout(6 * 3600)]


@pytest.fixture(scope="module")
def sotu(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sotu")
    chosen = track.load("sotu")
    data = track.prepare(chosen, folder / "data")
    given = os.environ.get("DETECTION_CHECKPOINT")
    if not given:
        by_hand(ROOT / "train.py", folder / "by-hand", chosen.budget_s)
    checkpoint = folder / "model.safetensors"
    shutil.copyfile(given or folder / "by-hand" / "model.safetensors", checkpoint)
    checkpoint.chmod(0o644)
    return chosen, data, checkpoint


@pytest.fixture(scope="module")
def honest(sotu):
    """What the trained model answers, once for all."""
    import torch

    torch.set_num_threads(2)
    chosen, data, checkpoint = sotu
    model = answer.load_script(ROOT / "train.py").load_model(str(checkpoint), "cpu")

    def respond(tokens, targets):
        out = np.empty(tokens.shape)
        for index, some in enumerate(tokens):
            logits = answer.ask(model, np.ascontiguousarray(some), (*some.shape, chosen.vocab_size), "cpu")
            out[index] = surprise(logits.reshape(-1, chosen.vocab_size), targets[index].ravel()).reshape(some.shape)
        return out

    rows = np.concatenate([data.main_rows, data.pool_rows]).astype(np.int64)
    reference = PairCounts(data.train_path, chosen.vocab_size).surprise(rows)
    main = len(data.main_rows)
    text_bytes = int(data.token_bytes[rows[:main, 1:]].sum())
    return peeking.observe(rows, main, reference, respond, text_bytes, chosen.batch_rows)


def misses(sotu, honest, kind, share, worth, draws, seed):
    """Return how many of so many scorings of a cheat ended without a refusal."""
    chosen, generator = sotu[0], np.random.default_rng([seed, *kind.encode()])
    batches = chosen.probes // chosen.batch_rows
    missed = 0
    for _ in range(draws):
        gains = peeking.gains(honest, kind, share, honest.nats_worth(worth), generator)
        missed += not peeking.Trial(honest, gains, chosen.holdout_rows, generator).caught(batches)
    return missed


def test_an_honest_model_is_never_caught(sotu, honest):
    generator = np.random.default_rng(1)
    nothing = np.zeros((honest.main, honest.nats.shape[1]))
    batches = sotu[0].probes // sotu[0].batch_rows
    assert not any(peeking.Trial(honest, nothing, 64, generator).caught(batches) for _ in range(DRAWS))


def test_a_sparse_cheat_is_caught(sotu, honest):
    print(f"\nsotu: a cheat worth {WORTH} bits per byte, share of scorings in which it is caught,")
    print(f"of {DRAWS} where it is spread over {SHARE:.1%} of places, of {FEWER_DRAWS} elsewhere\n")
    print("| where it looks ahead | " + " | ".join(f"{share:.2%} of places" for share in SHARES) + " |")
    print("|---" * (len(SHARES) + 1) + "|")
    missed = 0
    for kind in (*SPREAD, *GATHERED):
        cells = []
        for share in SHARES:
            if kind not in SPREAD and share > SHARE:
                cells.append("")
                continue
            promised = kind in SPREAD and share == SHARE
            draws = DRAWS if promised else FEWER_DRAWS
            found = misses(sotu, honest, kind, share, WORTH, draws, 1)
            missed += found if promised else 0
            cells.append(f"{1 - found / draws:.2%}")
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)
    tries = DRAWS * len(SPREAD)
    print(f"\nAt {SHARE:.1%} of places, spread over the rows: {missed} of {tries} missed.")
    expected = (1 - POWER_MIN) * tries
    assert missed <= expected + 3 * np.sqrt(expected)


def test_gain_against_probability(sotu, honest):
    print(f"\nsotu: share of {FEWER_DRAWS} scorings in which a cheat at random places is caught, by its gain\n")
    print("| gain, bits per byte | " + " | ".join(f"{share:.2%} of places" for share in SHARES) + " |")
    print("|---" * (len(SHARES) + 1) + "|")
    caught = np.empty((len(GAINS), len(SHARES)))
    for index, worth in enumerate(GAINS):
        for column, share in enumerate(SHARES):
            caught[index, column] = 1 - misses(sotu, honest, "at random", share, worth, FEWER_DRAWS, 2) / FEWER_DRAWS
        print(f"| {worth:g} | " + " | ".join(f"{one:.2%}" for one in caught[index]) + " |", flush=True)
    assert caught[GAINS.index(WORTH)].min() >= 0.9
    assert caught[-1].mean() > caught[0].mean()
    if DRAWS >= PLOTTED_FROM_DRAWS:
        draw(caught)


def draw(caught):
    with mpl.rc_context({"svg.hashsalt": "detection", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for column, share in enumerate(SHARES):
            axes.plot(GAINS, 100 * caught[:, column], marker="o", label=f"{share:.2%} of places")
        axes.axvline(WORTH, color="0.7", linewidth=1)
        axes.set(xscale="log", xlabel="what the cheat gains, bits per byte", ylabel="scorings that catch it, %")
        axes.set_ylim(-3, 103)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        PLOT.parent.mkdir(exist_ok=True)
        figure.savefig(PLOT, metadata={"Date": None})


def judged(chosen, data, honest, known, generator, share=1.0):
    """Return what it gains to know the tokens of a share of the main rows `known` nats better, and the outcome."""
    digest = generator.bytes(32)
    questions = scorer.gather(chosen, data, digest)
    holdout = probes.choose_holdout(len(data.pool_rows), chosen.holdout_rows, digest)
    index = np.concatenate([np.arange(honest.main), honest.main + holdout])
    nats = honest.nats[index].copy()
    rows = generator.permutation(honest.main)[: max(1, round(share * honest.main))]
    nats[rows] = np.maximum(nats[rows] - known, 0.0)
    gained = row_scores(honest.nats[index] - nats, questions.rows[:, 1:], data.token_bytes)
    worth = float(gained.nats.sum() / np.log(2)) / honest.text_bytes
    try:
        return worth, scorer.judge(questions, nats, honest.reference[index], data.token_bytes, {})
    except Failed:
        return worth, None


def test_what_is_known_by_heart_shows_in_the_gap(sotu, honest):
    chosen, data, _ = sotu
    generator = np.random.default_rng(3)
    print(f"\nsotu: the gap test on {chosen.holdout_rows} hold-out rows, {DRAWS} scripts each\n")
    print("| knows of every main token | worth, bits per byte | refused | gap in standard errors: mean, sd |")
    print("|---|---|---|---|")
    for known in (0.0, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5):
        found = [judged(chosen, data, honest, known, generator) for _ in range(DRAWS)]
        refused = sum(outcome is None for _, outcome in found) / DRAWS
        units = [outcome.holdout_gap / outcome.holdout_gap_sd for _, outcome in found if outcome]
        spread = f"{np.mean(units):.2f}, {np.std(units):.2f}" if units else "–"
        print(f"| {known:g} nats | {found[0][0]:.4f} | {refused:.1%} | {spread} |", flush=True)
        if known == 0:
            assert refused == 0
    assert refused == 1


def test_rows_known_by_heart_show_in_the_gap(sotu, honest):
    chosen, data, _ = sotu
    generator = np.random.default_rng(4)
    print(f"\nsotu: the gap test on rows known whole, {DRAWS} scripts each\n")
    print("| rows of the main slice known by heart | worth, bits per byte | refused |")
    print("|---|---|---|")
    for share in (0.01, 0.02, 0.03, 0.05, 0.1):
        found = [judged(chosen, data, honest, np.inf, generator, share) for _ in range(DRAWS)]
        refused = sum(outcome is None for _, outcome in found) / DRAWS
        print(f"| {share:.0%} | {np.mean([worth for worth, _ in found]):.4f} | {refused:.1%} |", flush=True)
    assert refused == 1


PEEKING = """

_honest_load_model = load_model


def load_model(checkpoint, device):
    honest = _honest_load_model(checkpoint, device)

    def model(tokens):
        logits = honest(tokens)
        place = torch.arange(tokens.size(1) - 1, device=tokens.device)
        key = (tokens[:, :-1] * 31 + place * 7) * 2654435761 % 2**32
        rows, places = torch.nonzero(key % 1000 == 0, as_tuple=True)
        logits[rows, places, tokens[rows, places + 1]] += 12.0
        return logits

    return model
"""


def test_scorings_in_real_sandboxes(sotu, tmp_path):
    chosen, data, checkpoint = sotu
    source = (ROOT / "train.py").read_text()
    before_main = source.rindex("\n\nif __name__")
    cheat = source[:before_main] + PEEKING + source[before_main:]
    print(f"\nsotu: {SCORINGS} scorings each of one checkpoint in real sandboxes\n")
    print("| script | refused | processor seconds | of the budget | wall seconds |")
    print("|---|---|---|---|---|")
    for name, text in (("train.py", source), ("the same, looking ahead at 0.1% of places", cheat)):
        used, outcomes = [], []
        began = time.monotonic()
        for _ in range(SCORINGS):
            trained = runner.Trained("trained", checkpoint=str(checkpoint))
            outcomes.append(
                runner.score(
                    trained, text.encode(), chosen, data, device="cpu", run_dir=tmp_path, level=sandbox.detect(),
                    on_event=lambda event: None, control=lambda: "run",
                )
            )  # fmt: skip
            used.append(outcomes[-1].checks.get("score_cpu_s", float("nan")))
        wall_s = (time.monotonic() - began) / SCORINGS
        refused = sum(outcome.status == "refused" for outcome in outcomes)
        cost = f"{np.median(used):.1f} | {np.median(used) / chosen.budget_s:.1%}" if not refused else "– | –"
        print(f"| {name} | {refused} | {cost} | {wall_s:.1f} |", flush=True)
        assert refused == (SCORINGS if text is cheat else 0), [outcome.reason for outcome in outcomes]
