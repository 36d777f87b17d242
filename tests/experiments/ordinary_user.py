"""Runs a command as a user without privileges, though interpreter and clone may lie in folders of root's own."""

import sys
from pathlib import Path

from experiments.sandbox.visible import view

ROOT = Path(__file__).resolve().parents[2]
COVERED = (Path("/root"), Path("/tmp"))


def as_user(command: list[str]) -> list[str]:
    """Returns the command that runs `command` as an ordinary user, in the clone, with an empty /root and /tmp.

    What is needed of the covered folders is shown again below parents that anybody may enter: of the clone its
    children, for a clone made by `mktemp -d` is itself closed to others.
    """
    inside = ["bwrap", "--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--perms", "0755", "--tmpfs", "/root",
              "--perms", "1777", "--tmpfs", "/tmp", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for path in dict.fromkeys((*view().folders, Path(sys.prefix), *ROOT.iterdir())):
        if not any(path.is_relative_to(top) for top in COVERED):
            continue
        for parent in sorted(p for p in path.parents if any(p.is_relative_to(top) and p != top for top in COVERED)):
            inside += ["--perms", "0755", "--dir", str(parent)]
        inside += ["--ro-bind", str(path), str(path)]
    user = ["setpriv", "--reuid=45678", "--regid=45678", "--clear-groups", "--inh-caps=-all"]
    return [*inside, "--chdir", str(ROOT), "--", *user, *command]
