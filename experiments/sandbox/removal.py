"""Deletes a folder that a script has written to, however it is built.

Leaves out anything outside: no link is followed. Rejected: `shutil.rmtree`, which recurses once a level and gives up
on folders a thousand deep; a script would so keep its disk space for ever.
"""

import os
import stat
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove_tree(folder: Path) -> None:
    """Deletes `folder` and all beneath it, if it exists. OSError if the disk refuses.

    Nobody may write to it any more: on the way back it trusts `..`, so that it holds one descriptor at a time.
    """
    try:
        here = os.open(folder, FOLDER)
    except FileNotFoundError:
        return
    try:
        names: list[str] = []  # of the folders from the top to here
        waiting = [_clear(here)]  # folders still to go into, level by level
        while waiting:
            if waiting[-1]:
                names.append(waiting[-1].pop())
                here = _move(here, names[-1])
                waiting.append(_clear(here))
                continue
            waiting.pop()
            if names:
                here = _move(here, "..")
                os.rmdir(names.pop(), dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(folder)


def _clear(here: int) -> list[str]:
    """Deletes all but the folders in a folder and returns their names."""
    os.fchmod(here, stat.S_IRWXU)
    folders = []
    for name in os.listdir(here):
        if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            os.chmod(name, stat.S_IRWXU, dir_fd=here)
            folders.append(name)
        else:
            os.unlink(name, dir_fd=here)
    return folders


def _move(here: int, name: str) -> int:
    """Opens a neighbouring folder and closes this one."""
    there = os.open(name, FOLDER, dir_fd=here)
    os.close(here)
    return there
