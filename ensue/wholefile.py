"""A file that appears under its name whole and synced, or not at all.

Left out: what is in it. Rejected: writing in place, where a kill or a full disk leaves half a file that looks whole.
"""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ensue import identity as keys
from ensue.errors import DiskFull, StoreError, UserError


class Replacing:
    """A context that gives a stream to write to, and puts the file in its place, synced, once all went well.

    Raises UserError where a file is in the way and `force` is not given, or where nothing may be written; DiskFull.
    """

    def __init__(self, path: Path, *, force: bool) -> None:
        self._path, self._force = path, force
        self._scratch = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")

    def __enter__(self) -> BinaryIO:
        if not self._force and os.path.lexists(self._path):
            raise self._in_the_way()
        try:
            self._stream: BinaryIO = self._scratch.open("xb")
        except OSError as error:
            raise self._unwritable(error) from None
        return self._stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._stream.flush()
                os.fsync(self._stream.fileno())
                self._stream.close()
                if self._force:
                    os.replace(self._scratch, self._path)
                else:
                    os.link(self._scratch, self._path)
                keys.sync_folder(self._path.parent)
        except FileExistsError:
            raise self._in_the_way() from None
        except OSError as problem:
            raise self._unwritable(problem) from None
        finally:
            with suppress(OSError):
                self._stream.close()
            self._scratch.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise self._unwritable(error) from None

    def _in_the_way(self) -> UserError:
        return UserError(f"{self._path} exists already: choose another name, or replace it with --force.")

    def _unwritable(self, error: OSError) -> StoreError | UserError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull(f"The disk that holds {self._path} is full and no file was made: free some space.")
        return UserError(f"{self._path} cannot be written ({error.strerror}): choose a folder that you may write to.")
