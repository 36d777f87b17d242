"""The peer: a plain GPT trained as nanoGPT trains one, for the same harness.

Learned positions, LayerNorm, GELU, tied embedding, AdamW at 1e-3 with warm-up and a cosine, as many tokens a step as
train.py, float32. Nothing in it is crippled: it is what a competent person writes first.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as train.py does, so that the comparison is fair

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from experiments import harness

DEPTH, WIDTH, HEADS, BATCH_ROWS = 4, 128, 4, 8
LR, LR_END, WARMUP, BETAS, DECAY, CLIP = 1e-3, 1e-4, 0.05, (0.9, 0.95), 0.1, 1.0


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        heads = self.qkv(self.before_attention(x)).view(rows, length, 3, HEADS, -1).transpose(1, 3).unbind(2)
        y = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


class Model(nn.Module):
    def __init__(self, vocab_size: int, seq_len: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab_size, WIDTH), nn.Embedding(seq_len, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.last = nn.LayerNorm(WIDTH)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = 0.02 / math.sqrt(2 * DEPTH) if name.endswith(("out.weight", "down.weight")) else 0.02
                nn.init.normal_(parameter, std=scale)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place(torch.arange(tokens.size(1), device=tokens.device))
        return F.linear(self.last(self.blocks(x)), self.embed.weight)


def load_model(checkpoint: str, device: str) -> Callable[[Tensor], Tensor]:
    """Return a function from token ids (B, T) to float32 logits (B, T, V)."""
    weights = load_file(checkpoint, device=device)
    model = Model(weights["embed.weight"].size(0), weights["place.weight"].size(0)).to(device).eval()
    model.load_state_dict(weights)
    return model


def main() -> None:
    """Train until the time is over and leave the weights."""
    run = harness.connect()
    torch.manual_seed(run.seed)
    torch.set_num_threads(run.threads)
    model = Model(run.vocab_size, run.seq_len).to(run.device)
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=True)
    random = np.random.default_rng(run.seed)
    whole_s = run.time_left()
    tokens = run.start().tokens
    step = 0
    while (left_s := run.time_left()) > 0:
        done = 1 - left_s / whole_s
        cosine = LR_END + (LR - LR_END) * (1 + math.cos(math.pi * done)) / 2
        for group in adam.param_groups:
            group["lr"] = cosine * min(1.0, done / WARMUP)
        starts = random.integers(len(tokens) - run.seq_len, size=(BATCH_ROWS, 1))
        rows = torch.from_numpy(tokens[starts + np.arange(run.seq_len + 1)].astype(np.int64)).to(run.device)
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        adam.step()
        adam.zero_grad(set_to_none=True)
        step += 1
        run.progress(step=step, loss=loss, tokens=step * BATCH_ROWS * run.seq_len)
    save_file(model.state_dict(), run.checkpoint)
    print(f"steps:       {step}")
    print(f"tokens:      {step * BATCH_ROWS * run.seq_len:,}")


if __name__ == "__main__":
    main()
