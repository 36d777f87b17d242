# Tries: to find secrets in its environment and in descriptors that it inherited.
import os
import stat
import sys


def main():
    for name, value in os.environ.items():
        print("SAW", name, value)
    print("SAW", sys.argv, sys.orig_argv)
    for fd in range(3, 4096):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        print("OBTAINED descriptor", fd, stat.filemode(mode), os.readlink(f"/proc/self/fd/{fd}"))


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
