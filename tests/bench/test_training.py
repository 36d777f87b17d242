"""How fast train.py learns, beside a plain loop, and how much of the processor it uses. Paired: both in one run."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import track

ROOT = Path(__file__).resolve().parents[2]
PLAIN = Path(__file__).with_name("plain_loop.py")
VALUE_MAX = 1.62
PEER_SHARE = 1 / 3  # of its budget in which train.py must reach what the plain loop ends at
PEAK_SHARE_MIN = 0.5

pytestmark = pytest.mark.bench


def by_hand(script: Path, folder: Path, budget_s: float) -> tuple[float, int]:
    """Return the value and the trained tokens of a script run by hand on sotu."""
    folder.mkdir()
    environment = dict(os.environ, AUTORESEARCH_TRACK="sotu", AUTORESEARCH_DEVICE="cpu", AUTORESEARCH_SEED="1",
                       AUTORESEARCH_HOME=str(folder.parent), AUTORESEARCH_BUDGET_S=str(budget_s),
                       PYTHONPATH=str(ROOT))  # fmt: skip
    done = subprocess.run([sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    value = re.search(r"^val_bpb: ([\d.]+)$", done.stdout, re.MULTILINE)[1]
    tokens = re.search(r"^tokens: +([\d,]+)$", done.stdout, re.MULTILINE)[1]
    return float(value), int(tokens.replace(",", ""))


def sgemm_flops_per_processor_s() -> float:
    """Return the best rate of a 1024-sided float32 product for each processor second it used."""
    import torch

    square, best = torch.randn(1024, 1024), float("inf")
    for _ in range(20):
        began = time.process_time()
        square @ square
        best = min(best, time.process_time() - began)
    return 2 * 1024**3 / best


def flops_per_token(seq_len: int, vocab_size: int) -> float:
    """Return what the model needs: 6 a weight of a matrix product, and causal attention; not tables, not Muon."""
    import torch

    spec = importlib.util.spec_from_file_location("trained", ROOT / "train.py")
    train = importlib.util.module_from_spec(spec)
    sys.modules["trained"] = train
    spec.loader.exec_module(train)
    model = train.Model(vocab_size, torch.float32)
    weights = model.head.numel() + sum(p.numel() for p in model.blocks.parameters())
    return 6 * weights + 6 * train.DEPTH * train.WIDTH * seq_len


@pytest.mark.timeout(3000)
def test_train_beats_a_plain_loop_in_a_third_of_its_budget(tmp_path):
    sotu = track.load("sotu")
    plain, plain_tokens = by_hand(PLAIN, tmp_path / "plain", sotu.budget_s)
    third, _ = by_hand(ROOT / "train.py", tmp_path / "third", sotu.budget_s * PEER_SHARE)
    whole, tokens = by_hand(ROOT / "train.py", tmp_path / "whole", sotu.budget_s)
    peak = sgemm_flops_per_processor_s()
    used = tokens * flops_per_token(sotu.seq_len, sotu.vocab_size) / (sotu.budget_s - sotu.save_s)
    print(f"\nsotu, {sotu.budget_s:g} processor seconds, bits per byte of validation text")
    print(f"  plain loop, whole budget     {plain:.4f}  ({plain_tokens:,} tokens)")
    print(f"  train.py, a third of it      {third:.4f}")
    print(f"  train.py, whole budget       {whole:.4f}  ({tokens:,} tokens)")
    print(f"  GFLOP a processor second     {used / 1e9:.1f} of {peak / 1e9:.1f} (float32 product): {used / peak:.2f}")
    assert third <= plain
    assert whole <= VALUE_MAX
    assert used >= PEAK_SHARE_MIN * peak
