# Tries: to plant code that starts with the next interpreter: sitecustomize, .pth, preload, environment.
# Ends: scored, for what it is worth
# Runs: 2
import os
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness

CODE = "print('OBTAINED the next interpreter')\n"
HOMES = ("/scratch", "/tmp", "/dev/shm", "/job", "/out", "/weights")


def plant():
    site = f"/scratch/.local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    for folder in (*HOMES, site, "/scratch/.config", os.path.dirname(os.__file__), *sys.path):
        for name in ("sitecustomize.py", "usercustomize.py", "evil.pth", ".pythonrc.py", "numpy.py", "json.py"):
            try:
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, name), "x") as file:
                    file.write("import os; " + CODE if name.endswith("pth") else CODE)
            except OSError:
                continue
    os.environ.update(
        LD_PRELOAD="/scratch/evil.so", PYTHONSTARTUP="/scratch/.pythonrc.py", PYTHONPATH="/scratch",
        PYTHONHOME="/scratch", LD_LIBRARY_PATH="/scratch", BASH_ENV="/scratch/rc", PYTHONINSPECT="1",
    )


def load_model(checkpoint, device):
    plant()
    table = load_file(checkpoint)["table"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)
    plant()


if __name__ == "__main__":
    main()
