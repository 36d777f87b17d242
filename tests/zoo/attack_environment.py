# Tries: to find secrets in its environment and in descriptors that it inherited.
import json
import os
import stat
import sys


def main():
    for name, value in os.environ.items():
        print("SAW", name, value)
    print("SAW", sys.argv, sys.orig_argv)
    own = set()
    if os.path.exists("/job/run.json"):
        with open("/job/run.json") as file:
            given = [value for name, value in json.load(file).items() if name.endswith("_fd")]
        own = {os.readlink(f"/proc/self/fd/{fd}") for fd in given}
    for fd in range(3, 4096):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        target = os.readlink(f"/proc/self/fd/{fd}")
        print("its own" if target in own else "OBTAINED descriptor", fd, stat.filemode(mode), target)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
