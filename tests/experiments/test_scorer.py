"""The scorer's arithmetic and what it asks: laws that hold for any model, and the noise it allows for."""

import hashlib
import math

import numpy as np
import pytest

from experiments import likelihood, probes, scorer
from experiments.outcome import Failed
from experiments.reference import PairCounts

V, T = 50, 12


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_surprise_is_the_log_softmax(rng):
    logits = rng.normal(0, 4, (200, V)).astype(np.float32)
    targets = rng.integers(0, V, 200)
    exact = [
        math.log(sum(math.exp(float(x) - float(row[t])) for x in row)) for row, t in zip(logits, targets, strict=True)
    ]
    assert likelihood.surprise(logits, targets) == pytest.approx(exact, abs=1e-12)


def test_probabilities_sum_to_one_whatever_the_model_answers(rng):
    for scale in (1e-30, 1, 1e5, 3e38):
        row = (rng.uniform(-1, 1, V) * scale).astype(np.float32)
        nats = likelihood.surprise(np.tile(row, (V, 1)), np.arange(V))
        assert np.exp(-nats).sum() == pytest.approx(1, abs=1e-9)
        assert (nats >= -1e-12).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(rng, bad):
    logits = rng.normal(size=(130, V)).astype(np.float32)
    logits[129, 7] = bad
    with pytest.raises(likelihood.NotFinite):
        likelihood.surprise(logits, np.zeros(130, int))


def test_logits_are_read_once():
    class Changing(np.ndarray):
        reads = 0

        def __getitem__(self, key):
            Changing.reads += 1
            return super().__getitem__(key)

    logits = np.zeros((likelihood.CHUNK_POSITIONS * 3, V), np.float32).view(Changing)
    likelihood.surprise(logits, np.zeros(len(logits), int))
    assert Changing.reads == 3


def test_tokens_without_text_count_for_nothing():
    sizes = np.array([0, 2, 3])
    scores = likelihood.row_scores(np.array([[5.0, 1.0], [2.0, 7.0]]), np.array([[0, 1], [2, 0]]), sizes)
    assert scores.bits_per_byte == pytest.approx((1 + 2) / math.log(2) / 5)
    assert math.isnan(likelihood.row_scores(np.ones((1, 1)), np.array([[0]]), sizes).bits_per_byte)


def test_the_standard_error_is_what_resampling_gives(rng):
    sizes = rng.integers(20, 60, 4000)
    nats = sizes * rng.normal(1, 0.2, 4000)
    drawn = []
    for _ in range(300):
        pick = rng.integers(0, 4000, 400)
        drawn.append(likelihood.RowScores(nats[pick], sizes[pick]).bits_per_byte)
    assert likelihood.RowScores(nats[:400], sizes[:400]).sd == pytest.approx(np.std(drawn), rel=0.2)


@pytest.mark.parametrize("count", [1, 7, 16, 33, 160])
def test_each_row_is_scored_once(rng, count):
    layout = probes.lay_out(count, 16, rng)
    assert sorted(layout.table[layout.first]) == list(range(count))
    assert layout.table.shape == layout.first.shape == (-(-count // 16), 16)
    assert layout.table.max() < count


def searched(rng, *, main=90, rows=90, places=T, batches=12, honest=None, gain=None):
    """Every probe of a search, its rows, and what B lost: `honest` (probe) nats for want of context, and `gain`s."""
    text, fillers = rng.integers(0, V, (rows, places + 1)), rng.integers(0, V, (20, places + 1))
    gain = np.zeros((rows, places)) if gain is None else gain
    layout = probes.lay_out(rows, 16, rng)
    search = probes.Search(text, main, fillers, layout, rng.normal(size=(rows, places)) + gain, rng)
    for probe in search.probes(batches):
        lost = np.where(probe.tested, gain[probe.row], 0.0) + (honest(probe) if honest else 0.0)
        yield text, fillers, layout, probe, lost
        search.learn(probe, lost)


def test_probes_are_what_they_were_made_from_but_for_the_exchanged(rng):
    kinds = list(searched(rng, rows=200, main=200, places=64, batches=13))
    assert [probe.row.shape for *_, probe, _ in kinds] == [(9, 16), (2, 16), (2, 16)]
    for text, _, layout, probe, _ in kinds:
        own = text[probe.row]
        following, asked = own[..., 1:-1], probe.tokens[..., 1:]
        assert (probe.tokens[..., 0] == own[..., 0]).all()
        assert not probe.tested[..., -1].any()  # what follows the last place is never shown
        assert (asked[probe.tested[..., :-1]] != following[probe.tested[..., :-1]]).all()
        before = np.arange(64) < probe.cut[..., None]
        assert (probe.tokens == own[..., :-1])[before].all()
        assert all(row in layout.table[:, place] for rows in probe.row for place, row in enumerate(rows))


def test_a_coarse_probe_tests_a_fifth_of_all_places_and_a_cut_exchanges_all_that_follows(rng):
    (*_, coarse, _), (*_, fine, _), (_, fillers, _, cuts, _) = searched(rng, rows=200, main=200, places=64)
    gaps = np.diff(np.flatnonzero(coarse.tested[0, 0]))
    assert set(gaps) <= {5, 10}  # ten where all draws gave the same token
    assert coarse.tested.mean() == pytest.approx(1 / 5, rel=0.1)
    assert fine.tested.any(axis=-1).all()
    assert min(np.diff(np.flatnonzero(one)).min() for one in fine.tested.reshape(-1, 64)) >= probes.FINE_GAP
    for index, place in np.ndindex(cuts.row.shape):
        cut, asked = cuts.cut[index, place], cuts.tokens[index, place]
        assert any((asked[cut + 1 :] == filler[cut + 1 : 64]).all() for filler in fillers)


def test_rows_that_pay_are_asked_first(rng):
    *_, coarse, _ = next(searched(rng, rows=400, main=200))
    assert (coarse.row < 200).mean() > 0.9  # columns with too few of them take others
    assert all(len(set(column)) == len(column) for column in coarse.row.T)


def test_a_few_rows_are_enough_to_probe(rng):
    for batches in range(1, 5):
        assert all(probe.tokens.shape[1:] == (16, T) for *_, probe, _ in searched(rng, rows=3, main=2, batches=batches))


def test_cuts_meet_a_single_cheating_place_that_a_coarse_probe_tested(rng):
    gain = np.zeros((90, 64))
    found = []
    for _ in range(40):
        gain[:] = 0
        gain[rng.integers(90), rng.integers(63)] = 3.0
        noise = rng.normal(0, 0.3, gain.shape)
        steps = list(searched(rng, places=64, gain=gain, honest=lambda probe: noise[probe.row] * 0.5))  # noqa: B023
        tested = gain[steps[0][3].row] * steps[0][3].tested
        if tested.any():
            cuts = steps[-1][3]
            found.append(np.take_along_axis(gain[cuts.row], cuts.cut[..., None], -1).any())
    assert len(found) > 3
    assert all(found)


def test_a_sparse_cheat_is_caught_with_the_power_that_the_track_claims(rng):
    """On made-up answers as noisy as a trained model's; tests/bench/test_detection.py does it on a real one's."""
    rows, places, holdout, tries, missed = 271, 256, 64, 250, 0
    text = rng.integers(0, V, (rows + holdout, places + 1))
    want = {"coarse": 0.13 * rng.laplace(size=(8, rows + holdout, places)), "cut": np.zeros((1, 1, 1))}
    want["fine"] = want["coarse"] / 3
    for _ in range(tries):
        gain = np.zeros((rows + holdout, places))
        chosen = rng.permutation(rows * (places - 1))[: rows * places // 1000]
        gain[chosen // (places - 1), chosen % (places - 1)] = 2.57  # nats: 0.001 bits per byte of sotu in all
        layout = probes.lay_out(rows + holdout, 16, rng)
        search = probes.Search(text, rows, text[rows:], layout, rng.normal(0.3, 1.25, gain.shape) + gain, rng)

        def lost(probe, gain=gain):
            noise = want[probe.kind][rng.integers(len(want[probe.kind]))]
            noise = np.broadcast_to(noise, gain.shape)[probe.row] * (np.arange(places) > probe.cut[..., None])
            return noise + np.where(probe.tested, gain[probe.row], 0.0)

        try:
            scorer.examine(search, 12, lost, "cpu")
        except Failed:
            continue
        missed += 1
    assert missed <= 1  # one in 1,500 escapes because no row of its was asked at a place of its


def test_an_honest_search_finds_nothing(rng):
    layout, text = probes.lay_out(90, 16, rng), rng.integers(0, V, (90, 65))
    search = probes.Search(text, 60, text[60:], layout, rng.normal(size=(90, 64)), rng)
    noise = rng.normal(0, 0.5, (90, 64))
    checks = scorer.examine(search, 12, lambda probe: noise[probe.row] * (np.arange(64) > probe.cut[..., None]), "cpu")
    assert set(checks.values()) == {0.0}


def test_the_holdout_depends_on_the_source_alone():
    digest, other = hashlib.sha256(b"a").digest(), hashlib.sha256(b"b").digest()
    first = probes.choose_holdout(100, 30, digest)
    assert (first == probes.choose_holdout(100, 30, digest)).all()
    assert set(first) != set(probes.choose_holdout(100, 30, other))
    assert len(set(first)) == 30
    assert len(probes.choose_holdout(2, 30, digest)) == 1


def test_pair_counts_are_counts(tmp_path):
    path = tmp_path / "train.u16"
    np.array([1, 2, 1, 2, 1, 3], "<u2").tofile(path)
    nats = PairCounts(path, 5).surprise(np.array([[1, 2], [1, 3], [4, 0]]))[:, 0]
    assert nats[0] < nats[1]
    assert np.isfinite(nats).all()


def judged(rng, *, by_heart=0.0, easy=0.0):
    """The outcome of a model that knows a share of the main slice by heart, on text that is easier there."""
    main, holdout = 280, 128
    rows = rng.integers(0, V, (main + holdout, T + 1))
    ease = np.where(np.arange(main + holdout) < main, easy, 0.0)[:, None]
    plain = np.abs(rng.normal(5, 1, (main + holdout, 1)) + rng.normal(0, 1, (main + holdout, T))) - ease
    nats = 0.8 * plain + rng.normal(0, 0.3, plain.shape)
    nats[:main] -= by_heart
    questions = scorer.Questions(rows, main, rows)
    return scorer.judge(questions, nats, plain, np.full(V, 4, np.int32), {})


def test_an_honest_model_keeps_its_value_on_uneven_text(rng):
    for _ in range(50):
        outcome = judged(rng, easy=0.5)
        assert outcome.status == "scored"
        assert abs(outcome.holdout_gap) < 5 * outcome.holdout_gap_sd
        assert outcome.checks["holdout_raw_gap"] > 0.05


def test_the_gap_is_as_noisy_as_it_says(rng):
    outcomes = [judged(rng) for _ in range(200)]
    deviations = [outcome.holdout_gap / outcome.holdout_gap_sd for outcome in outcomes]
    assert np.std(deviations) == pytest.approx(1, abs=0.2)


def test_a_model_that_knows_the_main_slice_by_heart_is_refused(rng):
    with pytest.raises(Failed) as caught:
        judged(rng, by_heart=0.5)
    assert caught.value.status == "refused"
    assert "by heart" in caught.value.reason


def test_disagreement_within_the_bound_is_allowed_and_beyond_it_is_not():
    assert scorer._compare("prefix", np.full(100, 1e-4), "cpu")["prefix_mean_nats"] == pytest.approx(1e-4)
    for differences in (np.full(100, 3e-4), np.full(100, -3e-4), np.array([0.03, -0.03])):
        with pytest.raises(Failed):
            scorer._compare("prefix", differences, "cpu")
    assert scorer._compare("prefix", np.array([0.03, -0.03]), "cuda:0")["prefix_largest_nats"] == 0.03
    assert scorer._compare("before", np.array([]), "cpu")["before_mean_nats"] == 0
