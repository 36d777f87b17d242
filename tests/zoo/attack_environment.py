# Tries: to find secrets in its environment and in descriptors that it inherited.
import json
import os
import stat
import sys


def main():
    for name, value in os.environ.items():
        print("SAW", name, value)
    print("SAW", sys.argv, sys.orig_argv)
    facts = {}
    if os.path.exists("/job/run.json"):
        with open("/job/run.json") as file:
            facts = json.load(file)
    for fd in range(3, 4096):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        target = os.readlink(f"/proc/self/fd/{fd}")
        own = fd == facts.get("control_fd") or target.startswith(("/memfd:tokens", "/memfd:logits"))
        print("its own" if facts and own else "OBTAINED descriptor", fd, stat.filemode(mode), target)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
