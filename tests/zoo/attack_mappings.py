# Tries: to make the kernel hold a million small mappings.
import mmap
import time


def main():
    held = []
    try:
        while len(held) < 1_000_000:
            held.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ if len(held) % 2 else mmap.PROT_READ | mmap.PROT_WRITE))
    except (OSError, MemoryError) as error:
        print(len(held), "mappings, then", error, flush=True)
    time.sleep(0.5)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
