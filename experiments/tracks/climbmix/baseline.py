"""Train a small language model on the time that the harness gives, and say how to load it again.

This is the file that research edits. It reads top to bottom: knobs, model, optimiser, data, training. What is frozen
(text, tokens, row length, clock, scoring) lives behind the harness; everything here may change.

    python train.py                    trains by hand and scores itself; the number counts for nothing
    autoresearch run train.py          the same, in the sandbox and under the supervisor's clock
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads sleep: spinning would burn processor seconds

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from experiments import harness

# --------------------------------------------------------------------------------------------------------------------
# Knobs. A comment's range tells a proposer where to look; the text after it tells a person what it does.

# the model
DEPTH = 8  # [4 .. 16]; blocks
HEADS = 4  # [2 .. 12]; attention heads a block; the residual stream is HEADS * HEAD_WIDTH wide
HEAD_WIDTH = 128  # {64, 128}; channels a head
MLP_RATIO = 4.0  # [1 .. 8]; hidden channels of an MLP over the width of the stream
ACTIVATION = "relu2"  # {relu2, gelu, silu}; inside the MLP
VALUE_TABLES = 4  # [0 .. 8]; blocks, from the top, whose values get a token embedding of their own added
BIGRAM_ROWS = 0  # {0, 65536, 262144, 1048576}; rows of a hashed table of token pairs added to the embedding; 0: none
ROPE_BASE = 10_000.0  # [100 .. 1000000] log; longest wavelength of the rotary positions, in tokens over 2 pi

# the optimiser
BATCH_ROWS = 256  # [32 .. 512] log; rows of seq_len tokens a step
MATRIX_LR = 0.04  # [0.002 .. 0.2] log; Muon's learning rate, for the matrices inside the blocks
MOMENTUM = 0.95  # [0.8 .. 0.99]; Muon's momentum
NEWTON_STEPS = 5  # [2 .. 7]; iterations of Muon's orthogonalisation
EMBED_LR = 0.3  # [0.01 .. 1] log; AdamW's learning rate for the embedding tables
HEAD_LR = 0.004  # [0.0003 .. 0.05] log; AdamW's learning rate for the output matrix
SCALAR_LR = 0.05  # [0.001 .. 0.2] log; AdamW's learning rate for the gates
BETA1 = 0.8  # [0.5 .. 0.98]; AdamW's memory of the gradient
BETA2 = 0.95  # [0.8 .. 0.999]; AdamW's memory of its square
WEIGHT_DECAY = 0.1  # [0 .. 0.3]; of the matrices, times the learning rate
WARMUP = 0.0  # [0 .. 0.2]; share of the budget in which learning rates rise
WARMDOWN = 0.5  # [0 .. 1]; share of the budget, at its end, in which they fall
FINAL_LR = 0.0  # [0 .. 0.3]; what they fall to, as a share of their peak

# the machine
ROWS_AT_ONCE = 32  # fixed; rows a pass: a step of more rows takes several, so that they fit into memory
LOSS_CHUNK = 512  # fixed; positions whose logits a CPU holds at once, so that they stay in its cache
WARMUP_STEPS = 3  # fixed; steps on made-up tokens before the clock starts

WIDTH = HEADS * HEAD_WIDTH
HIDDEN = round(MLP_RATIO * WIDTH)


# --------------------------------------------------------------------------------------------------------------------
# The model: a GPT with rotary positions, normalised queries and keys, and no biases.


def norm(x: Tensor) -> Tensor:
    """Return x with its last axis at root mean square 1."""
    return F.rms_norm(x, (x.size(-1),))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight.T in the dtype of x; weights are kept in float32."""
    return F.linear(x, weight.to(x.dtype))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x (B, T, H, C) with each pair of channels turned by its position's angle; cos and sin are (T, 1, C/2)."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos + right * sin, right * cos - left * sin), dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention over (B, H, T, C)."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    future = torch.full((q.size(-2), q.size(-2)), -1e4, dtype=q.dtype).triu(1)
    scores = (q * HEAD_WIDTH**-0.5) @ k.mT + future  # on CPUs twice as fast as the fused kernel
    return scores.softmax(-1) @ v


def activate(x: Tensor) -> Tensor:
    """Return the MLP's nonlinearity of x."""
    if ACTIVATION == "relu2":
        return F.relu(x).square()
    return F.gelu(x) if ACTIVATION == "gelu" else F.silu(x)


class Block(nn.Module):
    """Attention, then an MLP, each added to the stream. Both start as zero, so a new model is the identity."""

    def __init__(self) -> None:
        super().__init__()
        bound = math.sqrt(3 / WIDTH)  # uniform with standard deviation 1 / sqrt(WIDTH)
        self.qkv = nn.Parameter(torch.empty(3, WIDTH, WIDTH).uniform_(-bound, bound))
        self.out = nn.Parameter(torch.zeros(WIDTH, WIDTH))
        self.up = nn.Parameter(torch.empty(HIDDEN, WIDTH).uniform_(-bound, bound))
        self.down = nn.Parameter(torch.zeros(WIDTH, HIDDEN))

    def forward(self, x: Tensor, extra_value: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the stream (B, T, WIDTH) after this block; extra_value (B, T, WIDTH) is added to the values."""
        shape = (*x.shape[:2], HEADS, HEAD_WIDTH)
        q, k, v = linear(norm(x), self.qkv.flatten(0, 1)).chunk(3, dim=-1)
        if extra_value is not None:
            v = v + extra_value
        q, k = rotate(norm(q.view(shape)), cos, sin), rotate(norm(k.view(shape)), cos, sin)
        y = attend(q.transpose(1, 2), k.transpose(1, 2), v.view(shape).transpose(1, 2))
        x = x + linear(y.transpose(1, 2).reshape(x.shape), self.out)
        return x + linear(activate(linear(norm(x), self.up)), self.down)


class Model(nn.Module):
    """Token ids (B, T) to logits (B, T, V) in float32; computes in `dtype`, keeps its weights in float32."""

    def __init__(self, vocab_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.embed = nn.Embedding(vocab_size, WIDTH)
        self.pairs = nn.Embedding(BIGRAM_ROWS, WIDTH) if BIGRAM_ROWS else None
        self.values = nn.ModuleList(nn.Embedding(vocab_size, WIDTH) for _ in range(min(VALUE_TABLES, DEPTH)))
        self.value_gates = nn.Parameter(torch.full((len(self.values),), 0.5))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.head = nn.Parameter(torch.zeros(vocab_size, WIDTH))
        if self.pairs is not None:
            nn.init.zeros_(self.pairs.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits; those at t depend on tokens <= t only."""
        return linear(self.stream(tokens), self.head).float()

    def stream(self, tokens: Tensor) -> Tensor:
        """Return what the output matrix reads, (B, T, WIDTH)."""
        x = self.embed(tokens)
        if self.pairs is not None:
            x = x + self.pairs(pair_hash(tokens))
        x = norm(x.to(self.dtype))
        cos, sin = self.angles(tokens.size(1), tokens.device)
        first = DEPTH - len(self.values)
        for depth, block in enumerate(self.blocks):
            extra_value = None
            if depth >= first:
                extra_value = (self.value_gates[depth - first] * self.values[depth - first](tokens)).to(self.dtype)
            x = block(x, extra_value, cos, sin)
        return norm(x)

    def loss_sum(self, stream: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss in nats of targets (N,), of which `stream` (N, WIDTH) speaks."""
        return F.cross_entropy(linear(stream, self.head).float(), targets, reduction="sum")

    def angles(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cosine and sine (length, 1, HEAD_WIDTH / 2) of every position's rotation."""
        channel = torch.arange(HEAD_WIDTH // 2, device=device) / (HEAD_WIDTH // 2)
        angle = torch.outer(torch.arange(length, device=device).float(), ROPE_BASE**-channel)[:, None]
        return angle.cos().to(self.dtype), angle.sin().to(self.dtype)


def pair_hash(tokens: Tensor) -> Tensor:
    """Return a row of the pair table for every token and the one before it, (B, T)."""
    before = F.pad(tokens[:, :-1], (1, 0))
    return (tokens * 1_000_003 + before * 786_433) % BIGRAM_ROWS


# --------------------------------------------------------------------------------------------------------------------
# The optimiser: Muon for the matrices inside the blocks, AdamW for tables, the output matrix and gates.


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (N, rows, columns) with all singular values brought near 1, by Newton-Schulz iteration.

    The quintic's coefficients are those of Keller Jordan's Muon (2024): steep at zero, loose around one.
    """
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NEWTON_STEPS):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal, so that every direction of a matrix learns at the same speed.

    Each group holds parameters of one shape (..., rows, columns), which are treated together as one batch of matrices.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, dtype: torch.dtype) -> None:
        shapes = sorted({p.shape[-2:] for p in parameters})
        groups = [{"params": [p for p in parameters if p.shape[-2:] == shape]} for shape in shapes]
        super().__init__(groups, {"lr": lr})
        self.orthogonal = torch.compile(orthogonal) if parameters[0].is_cuda else orthogonal
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take one step along the gradients."""
        for group in self.param_groups:
            parameters = group["params"]
            rows, columns = parameters[0].shape[-2:]
            gradient = torch.cat([p.grad.view(-1, rows, columns) for p in parameters])
            state = self.state[parameters[0]]
            momentum = state.setdefault("momentum", torch.zeros_like(gradient))
            momentum.lerp_(gradient, 1 - MOMENTUM)
            direction = self.orthogonal(gradient.lerp(momentum, MOMENTUM).to(self.dtype)).float()
            reach = group["lr"] * math.sqrt(max(1.0, rows / columns))
            updates = direction.split([p[..., 0, 0].numel() for p in parameters])
            for parameter, update in zip(parameters, updates, strict=True):
                parameter.mul_(1 - group["lr"] * WEIGHT_DECAY)
                parameter.add_(update.view_as(parameter), alpha=-reach)


def optimisers(model: Model) -> list[torch.optim.Optimizer]:
    """Return the optimisers of all parameters; each group remembers its peak learning rate as `peak_lr`."""
    tables = [p for name, p in model.named_parameters() if name.startswith(("embed", "pairs", "values."))]
    groups = [
        {"params": tables, "lr": EMBED_LR},
        {"params": [model.head], "lr": HEAD_LR},
        {"params": [model.value_gates], "lr": SCALAR_LR},
    ]
    adam = torch.optim.AdamW(groups, betas=(BETA1, BETA2), eps=1e-10, weight_decay=0.0, fused=True)
    chosen = [adam, Muon(list(model.blocks.parameters()), MATRIX_LR, model.dtype)]
    for group in (group for optimiser in chosen for group in optimiser.param_groups):
        group["peak_lr"] = group["lr"]
    return chosen


def lr_share(done: float) -> float:
    """Return the share of the peak learning rate when `done`, 0 to 1, of the budget is used."""
    if done < WARMUP:
        return done / WARMUP
    if done < 1 - WARMDOWN:
        return 1.0
    return FINAL_LR + (1 - FINAL_LR) * (1 - done) / WARMDOWN


# --------------------------------------------------------------------------------------------------------------------
# Data, device and loading.


def batches(tokens: np.ndarray, seq_len: int, device: torch.device, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and targets (BATCH_ROWS, seq_len) for ever: all rows once in random order, then cut anew."""
    random = np.random.default_rng(seed)
    while True:
        starts = np.arange(random.integers(seq_len), len(tokens) - seq_len, seq_len)
        random.shuffle(starts)
        for some in np.array_split(starts, max(1, len(starts) // BATCH_ROWS)):
            rows = torch.from_numpy(tokens[some[:BATCH_ROWS, None] + np.arange(seq_len + 1)].astype(np.int64))
            rows = rows.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else rows.to(device)
            yield rows[:, :-1], rows[:, 1:]


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where a real matrix product is clearly faster in it, else float32."""

    now = time.process_time if device.type == "cpu" else time.perf_counter  # other processes must not sway the choice

    def seconds(square: Tensor) -> float:
        began = now()
        float((square @ square)[0, 0])  # reading a number waits for the device
        return now() - began

    try:
        squares = [torch.ones(1024, 1024, device=device, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)]
        tries = [[seconds(square) for square in squares] for _ in range(12)]  # in turns: both meet the same neighbours
        bfloat16_s, float32_s = map(min, zip(*tries, strict=True))
        return torch.bfloat16 if bfloat16_s < 0.75 * float32_s else torch.float32
    except RuntimeError:  # this device has no bfloat16
        return torch.float32


def load_model(checkpoint: str, device: str) -> Callable[[Tensor], Tensor]:
    """Return a function from token ids (B, T) to float32 logits (B, T, V), computed in float32."""
    weights = load_file(checkpoint, device=device)
    model = Model(weights["head"].size(0), torch.float32).to(device).eval()
    model.load_state_dict(weights)
    return model


# --------------------------------------------------------------------------------------------------------------------
# Training.


def backward(model: Model, inputs: Tensor, targets: Tensor, total: int) -> float:
    """Return the loss of these rows as their share of `total` positions, and add its gradient to the parameters.

    The logits, by far the largest tensor, are made and used up a few positions at a time.
    """
    stream = model.stream(inputs)
    cut = stream.detach().requires_grad_()
    chunk = LOSS_CHUNK if inputs.device.type == "cpu" else targets.numel()
    loss = torch.zeros((), device=inputs.device)
    for some, wanted in zip(cut.flatten(0, 1).split(chunk), targets.flatten().split(chunk), strict=True):
        part = model.loss_sum(some, wanted) / total
        part.backward()
        loss += part.detach()
    stream.backward(cut.grad)
    return float(loss)  # reading it waits for the device, so that the clock we read next is honest


def train_step(
    model: Model, chosen: list[torch.optim.Optimizer], inputs: Tensor, targets: Tensor, share: float
) -> float:
    """Return the mean loss of the rows before the step that this takes, at this share of the peak learning rates."""
    pieces = zip(inputs.split(ROWS_AT_ONCE), targets.split(ROWS_AT_ONCE), strict=True)
    loss = sum(backward(model, *piece, total=targets.numel()) for piece in pieces)
    for optimiser in chosen:
        for group in optimiser.param_groups:
            group["lr"] = share * group["peak_lr"]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss


def main() -> None:
    """Train until the time is over and leave the weights."""
    run = harness.connect()
    torch.manual_seed(run.seed)
    torch.set_num_threads(run.threads)
    torch.set_float32_matmul_precision("high")
    device = torch.device(run.device)
    model = Model(run.vocab_size, fast_dtype(device)).to(device)
    if device.type == "cuda":
        model.stream = torch.compile(model.stream, dynamic=False)
        model.loss_sum = torch.compile(model.loss_sum, dynamic=False)

    made_up = torch.randint(run.vocab_size, (BATCH_ROWS, run.seq_len), device=device)
    throwaway = optimisers(model)
    for _ in range(WARMUP_STEPS):  # compiles and fills caches; a learning rate of zero changes no weight
        train_step(model, throwaway, made_up, made_up, share=0.0)

    chosen = optimisers(model)
    whole_s = run.time_left()
    data = run.start()
    rows = batches(data.tokens, run.seq_len, device, run.seed)
    step, tokens, loss, step_s, left_s = 0, 0, math.nan, 0.0, whole_s
    while left_s > step_s:  # another step as long as the last one fits
        inputs, targets = next(rows)
        loss = train_step(model, chosen, inputs, targets, lr_share(1 - left_s / whole_s))
        step, tokens = step + 1, tokens + inputs.numel()
        step_s, left_s = left_s - run.time_left(), run.time_left()
        run.progress(step=step, loss=loss, tokens=tokens)
    save_file(model.state_dict(), run.checkpoint)

    print(f"steps:       {step}")
    print(f"tokens:      {tokens:,}")
    print(f"loss:        {loss:.4f}")
    print(f"parameters:  {sum(p.numel() for p in model.parameters()):,}")
    print(f"computed in: {str(model.dtype).removeprefix('torch.')} on {device}")


if __name__ == "__main__":
    main()
