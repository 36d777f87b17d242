# Tries: to say that it has answered what it was not yet asked.
# Ends: refused, something other than answers
import json
import socket

import numpy as np
from safetensors.numpy import save_file

from experiments import harness


def load_model(checkpoint, device):
    with open("/job/run.json") as file:
        channel = socket.socket(fileno=json.load(file)["control_fd"])
    channel.send(b'{"op": "ready"}')
    channel.recv(4096)
    channel.send(b'{"op": "done", "slot": 1}')
    channel.recv(4096)
    raise SystemExit("nobody believes it")


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
