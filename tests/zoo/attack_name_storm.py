# Tries: to fill the kernel's memory of names: a million names that do not exist, and every file there is.
# With: seconds=8
import os
import time


def main():
    end, tried = time.monotonic() + 2.0, 0
    while time.monotonic() < end:
        tried += 1
        os.path.exists(f"/scratch/{tried:0200d}")
        os.path.exists(f"/usr/lib/{tried:0200d}")
    print(tried, "names")
    for folder, _, names in os.walk("/usr/lib"):
        for name in names:
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    file.read(4096)
            except OSError:
                continue
        if time.monotonic() > end + 1.0:
            break


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
