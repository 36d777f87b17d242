"""train.py: what the harness, the proposers and its readers rely on. `load_model` is the contract's causal function."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from experiments import knobs

ROOT = Path(__file__).resolve().parent.parent
SOURCE = (ROOT / "train.py").read_text()
TINY = ROOT / "tests" / "tracks" / "tiny"
VOCAB, LENGTH = 64, 24


def script(**changes: object) -> ModuleType:
    """Return train.py as a module of its own, with these knobs changed."""
    spec = importlib.util.spec_from_loader("train_under_test", loader=None)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_under_test"] = module
    exec(compile(knobs.apply(SOURCE, changes), "train.py", "exec"), module.__dict__)
    return module


def trained_a_little(train: ModuleType, steps: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    model = train.Model(VOCAB, torch.float32)
    chosen = train.optimisers(model)
    tokens = torch.randint(VOCAB, (4, LENGTH + 1))
    for _ in range(steps):
        train.train_step(model, chosen, tokens[:, :-1], tokens[:, 1:], share=1.0)
    return model


def test_the_knob_block_is_a_search_space():
    found = knobs.read(SOURCE)
    searched = {name for name, knob in found.items() if knob.hinted}
    assert len(searched) >= 15
    for name in searched:
        assert found[name].check(found[name].value) == found[name].value, f"{name} lies outside its own range"


def test_every_line_of_the_knob_block_says_what_it_does():
    block = SOURCE.split("# Knobs.")[1].split("WIDTH = HEADS")[0]
    for line in re.findall(r"^[A-Z0-9_]+ = .*$", block, re.MULTILINE):
        assert re.search(r"#.*; \w", line), line


@pytest.mark.parametrize("changes", [
    {"DEPTH": 1, "HEADS": 1, "HEAD_WIDTH": 16, "VALUE_TABLES": 0},
    {"DEPTH": 2, "ACTIVATION": "gelu", "BIGRAM_ROWS": 4096, "MLP_RATIO": 1.3, "VALUE_TABLES": 4},
    {"ACTIVATION": "silu", "NEWTON_STEPS": 2, "WARMUP": 0.2, "WARMDOWN": 1.0},
])  # fmt: skip
def test_knobs_at_the_ends_of_their_ranges_train(changes):
    model = trained_a_little(script(**changes))
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_logits_depend_on_the_past_only_and_not_on_earlier_calls(tmp_path):
    from safetensors.torch import save_file

    train = script(BIGRAM_ROWS=4096)
    save_file(trained_a_little(train).state_dict(), tmp_path / "model.safetensors")
    answer = train.load_model(str(tmp_path / "model.safetensors"), "cpu")
    tokens = torch.randint(VOCAB, (3, LENGTH))
    changed = tokens.clone()
    changed[:, LENGTH // 2 :] = torch.randint(VOCAB, (3, LENGTH - LENGTH // 2))
    with torch.inference_mode():
        first, other, again = answer(tokens), answer(changed), answer(tokens)
    assert first.dtype == torch.float32
    assert first.shape == (3, LENGTH, VOCAB)
    assert torch.equal(first, again)
    torch.testing.assert_close(first[:, : LENGTH // 2], other[:, : LENGTH // 2], atol=1e-5, rtol=0)
    assert not torch.allclose(first[:, LENGTH // 2 :], other[:, LENGTH // 2 :], atol=1e-3)


def test_attention_on_cpus_equals_the_fused_kernel():
    train = script()
    q, k, v = (torch.randn(2, 3, LENGTH, train.HEAD_WIDTH) for _ in range(3))
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(train.attend(q, k, v), fused, atol=1e-5, rtol=1e-5)


def test_a_step_in_passes_equals_a_step_at_once():
    losses, weights = [], []
    for rows_at_once, chunk in ((64, 512), (1, 7)):
        train = script()
        train.ROWS_AT_ONCE, train.LOSS_CHUNK = rows_at_once, chunk
        torch.manual_seed(0)
        model = train.Model(VOCAB, torch.float32)
        tokens = torch.randint(VOCAB, (4, LENGTH + 1))
        losses.append(sum(train.backward(model, *piece, total=4 * LENGTH)
                          for piece in zip(tokens[:, :-1].split(rows_at_once), tokens[:, 1:].split(rows_at_once),
                                           strict=True)))  # fmt: skip
        weights.append(model.head.grad)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(weights[0], weights[1], atol=1e-6, rtol=1e-4)


def test_newton_steps_bring_singular_values_near_one():
    train = script()
    for shape in ((3, 32, 32), (2, 64, 16), (2, 16, 64)):
        spread = torch.linalg.svdvals(train.orthogonal(torch.randn(shape)))
        assert float(spread.median()) == pytest.approx(1, abs=0.3)
        assert float(spread.max()) < 1.4


def test_batches_show_each_row_once_before_any_twice():
    train = script()
    tokens = np.arange(20 * LENGTH, dtype=np.uint16)
    rows = train.batches(tokens, LENGTH, torch.device("cpu"), seed=5)
    seen = torch.cat([next(rows)[0][:, 0] for _ in range(2)])
    assert len(seen.unique()) == len(seen) == 2 * train.BATCH_ROWS
    inputs, targets = next(rows)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    repeated = train.batches(tokens, LENGTH, torch.device("cpu"), seed=5)
    assert torch.equal(seen[: train.BATCH_ROWS], next(repeated)[0][:, 0])


def test_learning_rates_rise_stay_and_fall():
    train = script(WARMUP=0.1, WARMDOWN=0.5, FINAL_LR=0.2)
    assert [round(train.lr_share(done), 6) for done in (0.0, 0.05, 0.3, 0.75, 1.0)] == [0.0, 0.5, 1.0, 0.6, 0.2]
    assert script(WARMUP=0.0, WARMDOWN=0.0).lr_share(0.999) == 1.0


def test_the_gpu_tracks_baseline_is_this_file_with_other_knobs():
    def but_knobs(path: Path) -> str:
        return re.sub(r"^[A-Z0-9_]+ = .*  # .*\n", "", path.read_text(), flags=re.MULTILINE)

    baseline = ROOT / "experiments" / "tracks" / "climbmix" / "baseline.py"
    assert but_knobs(baseline) == but_knobs(ROOT / "train.py")
    assert knobs.read(baseline.read_text()).keys() == knobs.read(SOURCE).keys()


def test_training_by_hand_learns_the_tiny_track(tmp_path):
    environment = dict(os.environ, AUTORESEARCH_TRACK=str(TINY), AUTORESEARCH_HOME=str(tmp_path), PYTHONPATH=str(ROOT),
                       AUTORESEARCH_DEVICE="cpu")  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py")], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    value = float(re.search(r"^val_bpb: ([\d.]+)$", done.stdout, re.MULTILINE)[1])
    assert value < 3.0  # counting letters alone gives more than 4
