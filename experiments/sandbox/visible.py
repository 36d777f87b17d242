"""What a script may see of the host: the interpreter, its packages and the system libraries, all read-only.

An allow-list. Our own packages are masked wherever they were installed, because a track's data ships inside them.
Leaves out the mounts that a caller asks for. Rejected: binding `/` read-only and hiding the secrets one by one.
"""

import importlib.util
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OUR_PACKAGES = ("ensue", "experiments", "verify", "node")
PACKAGE_FOLDERS = ("site-packages", "dist-packages")
SYSTEM_FOLDERS = ("/usr",)
# What people put there is not needed to run a program.
SYSTEM_HIDDEN = ("/usr/etc", "/usr/local/etc", "/usr/local/var", "/usr/local/src", "/usr/src")
SYSTEM_LINKS = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives")


@dataclass(frozen=True, slots=True)
class View:
    """`folders` and `files` are shown at their own path; `hidden` folders are covered by empty ones afterwards."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    links: tuple[tuple[str, str], ...]  # (where, target)
    hidden: tuple[Path, ...]


def interpreter() -> str:
    """Returns the path of Python inside a sandbox: the one that runs us."""
    return sys.executable


def view(hide: Iterable[Path] = ()) -> View:
    """Returns what every sandbox shows; `hide` names further host folders that must stay unseen."""
    base, prefix = Path(sys.base_prefix), Path(sys.prefix)
    packages = [Path(entry) for entry in sys.path if Path(entry).name in PACKAGE_FOLDERS and Path(entry).is_dir()]
    folders = [Path(folder) for folder in SYSTEM_FOLDERS]
    folders += [base.resolve(), base, *packages]
    files = [Path(file) for file in SYSTEM_FILES if Path(file).exists()]
    if prefix != base:
        files += [path for path in (prefix / "pyvenv.cfg", *_pythons(prefix / "bin")) if path.exists()]
    links = []
    for link in map(Path, SYSTEM_LINKS):
        if link.is_symlink():
            links.append((str(link), str(link.readlink())))
        elif link.is_dir():
            folders.append(link)
    shown = tuple(dict.fromkeys(folder for folder in folders if folder != Path("/")))
    hidden = [package / name for package in _package_folders(shown, packages) for name in OUR_PACKAGES]
    hidden += [root for root in (_source_tree(),) if root is not None]
    hidden += map(Path, SYSTEM_HIDDEN)
    hidden += hide
    return View(shown, tuple(files), tuple(links), tuple(_beneath(hidden, shown)))


def _pythons(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("python*") if re.fullmatch(r"python[\d.]*", path.name))


def _package_folders(shown: Iterable[Path], packages: list[Path]) -> list[Path]:
    """The package folders of every interpreter that is shown: the system's own may hold an older copy of ours."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = list(packages)
    for root in shown:
        for lib in (root / "lib", root / "local" / "lib"):
            found += [folder for python in (version, "python3") for name in PACKAGE_FOLDERS
                      if (folder := lib / python / name).is_dir()]
    return list(dict.fromkeys(found))


def _source_tree() -> Path | None:
    """The folder that our packages are imported from, if it is a source tree and not a package folder."""
    spec = importlib.util.find_spec("experiments")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).resolve().parent.parent
    return None if root.name in PACKAGE_FOLDERS else root


def _beneath(hidden: Iterable[Path], shown: tuple[Path, ...]) -> list[Path]:
    """Where the hidden folders that exist would be seen, under each name of what is shown; outer folders first.

    Never one that holds something shown: it is not shown as a whole.
    """
    found = set()
    for path in (path.resolve() for path in hidden if path.is_dir()):
        for folder, real in ((folder, folder.resolve()) for folder in shown):
            if path.is_relative_to(real):
                found.add(folder / path.relative_to(real))
    return sorted(path for path in found if not any(folder.is_relative_to(path) for folder in shown))
