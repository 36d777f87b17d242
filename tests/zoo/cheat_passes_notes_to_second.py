# Tries: to leave what the first instance sees where the second can read it.
# Ends: scored, for what it is worth
import os
import socket

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness

PLACES = ("/scratch", "/tmp", "/dev/shm", "/dev", "/job", "/weights", "/out", "/run", "/var/tmp")


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    for folder in PLACES:
        if os.path.exists(os.path.join(folder, "note")):
            table[:] = 0.0
            raise SystemExit("OBTAINED a note from the other instance in " + folder)
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        line.bind("\0between-the-two")
    except OSError as error:
        raise SystemExit("OBTAINED the other instance's socket") from error

    def model(tokens):
        tokens = np.asarray(tokens)
        logits = table[tokens]
        for folder in PLACES:
            try:
                with open(os.path.join(folder, "note"), "ab") as file:
                    file.write(tokens.tobytes())
            except OSError:
                continue
        return logits

    return model


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
