# Honest: a perceptron over the last four tokens, in plain numpy, with hand-written gradients and Adam.
import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness

REACH, WIDTH, HIDDEN, BATCH, RATE = 4, 16, 96, 128, 3e-3


def forward(weights, context):  # (N, REACH) -> (N, V)
    inside = weights["embed"][context].reshape(len(context), -1)
    hidden = np.tanh(inside @ weights["in"] + weights["bias"])
    return inside, hidden, hidden @ weights["out"] + weights["last"]


def load_model(checkpoint, device):
    weights = load_file(checkpoint)

    def model(tokens):
        tokens = np.asarray(tokens)
        padded = np.pad(tokens, ((0, 0), (REACH - 1, 0)))
        context = np.lib.stride_tricks.sliding_window_view(padded, REACH, axis=1).reshape(-1, REACH)
        return forward(weights, context)[2].reshape(*tokens.shape, -1).astype(np.float32)

    return model


def main():
    run = harness.connect()
    draw, size = np.random.default_rng(run.seed), run.vocab_size
    shapes = {
        "embed": (size, WIDTH),
        "in": (REACH * WIDTH, HIDDEN),
        "bias": (HIDDEN,),
        "out": (HIDDEN, size),
        "last": (size,),
    }
    weights = {name: draw.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    tokens, step = run.start().tokens.astype(np.int64), 0
    windows = np.lib.stride_tricks.sliding_window_view(tokens, REACH + 1)
    while run.time_left() > 0:
        step += 1
        batch = windows[draw.integers(0, len(windows), BATCH)]
        context, target = batch[:, :-1], batch[:, -1]
        inside, hidden, logits = forward(weights, context)
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        run.progress(step=step, loss=float(-np.log(share[np.arange(BATCH), target]).mean()))
        share[np.arange(BATCH), target] -= 1
        share /= BATCH
        back = (share @ weights["out"].T) * (1 - hidden**2)
        grads = {"out": hidden.T @ share, "last": share.sum(0), "in": inside.T @ back, "bias": back.sum(0)}
        grads["embed"] = np.zeros_like(weights["embed"])
        np.add.at(grads["embed"], context, (back @ weights["in"].T).reshape(BATCH, REACH, WIDTH))
        for name, grad in grads.items():
            first[name] += 0.1 * (grad - first[name])
            second[name] += 0.01 * (grad**2 - second[name])
            weights[name] -= RATE * first[name] / (np.sqrt(second[name]) + 1e-6)
    save_file(weights, run.checkpoint)


if __name__ == "__main__":
    main()
