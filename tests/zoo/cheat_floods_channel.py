# Tries: to drown the supervisor in messages, some of them no messages at all.
# Ends: scored, for what it is worth
import json
import os
import socket
import time

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    with open("/job/run.json") as file:
        channel = socket.socket(fileno=os.dup(json.load(file)["control_fd"]))
    rubbish = [
        b"\xff" * 4000,
        b"[" * 4000,
        b'{"op":"progress","loss":1e999,"step":-1,"tokens":' + b"9" * 900 + b"}",
        b"{}",
    ]
    rubbish += [b'{"op":"start"}', b'{"op":"progress","loss":NaN,"step":true,"tokens":"many","time_left_s":1e99}', b""]
    ends = time.monotonic() + 0.5
    while time.monotonic() < ends:
        for message in rubbish:
            try:
                channel.send(message, socket.MSG_DONTWAIT)
            except OSError:
                time.sleep(0.001)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
