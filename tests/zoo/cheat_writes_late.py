# Tries: to exchange its logits after it has handed them over, while the scorer reads them.
# Ends: refused or scored, for what it is worth
import gc
import threading

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def scribble(logits):
    while True:
        logits[:] = 1e30


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    for name in gc.get_objects():
        if type(name).__name__ == "Slots":
            threading.Thread(target=scribble, args=(name.answers[:, :, :, :1],), daemon=True).start()
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
