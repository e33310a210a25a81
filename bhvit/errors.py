"""Errors that users see: one readable block, no traceback, a defined exit code."""

from __future__ import annotations

import errno
import os
import signal


class BhvitError(Exception):
    """Base of the errors that the command line prints without a traceback, with `exit_code`.

    what: the complaint in one sentence; where: file, key or option; why: the cause;
    do: what the user can do about it. Only `what` is required.
    """

    exit_code = 2

    def __init__(self, what: str, where: str | None = None, why: str | None = None, do: str | None = None):
        super().__init__(what, where, why, do)  # all four, so that the exception survives pickling
        self.what, self.where, self.why, self.do = str(what), _text(where), _text(why), _text(do)

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  {name}: {text}" for name, text in self._parts() if text]
        return "\n".join(lines)

    def _parts(self) -> list[tuple[str, str | None]]:
        return [("where", self.where), ("why", self.why), ("what to do", self.do)]

    def as_dict(self) -> dict:
        """The same as a dictionary, for `--json`."""
        return {"error": self.what, "where": self.where, "why": self.why, "do": self.do,
                "exit_code": self.exit_code}


class UserError(BhvitError):
    """Bad usage, bad input or a missing tool (exit code 2)."""

    exit_code = 2


class FileTrouble(UserError):
    """The operating system refused to read or write: full disk, missing rights, a folder where a file should be."""


class CheckFailed(BhvitError):
    """A comparison or limit did not hold (exit code 1): the input was fine, the result is not."""

    exit_code = 1


#: what the operating system and the tools say when nothing more can be written
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_TEXTS = (*map(os.strerror, FULL), signal.strsignal(signal.SIGXFSZ) or "SIGXFSZ")


def file_trouble(error: OSError, where: object = None) -> FileTrouble:
    """An OSError as a message for users; `where` is used when the error does not name a file itself."""
    place = error.filename or where
    if error.errno in FULL:
        return FileTrouble("The disk is full, or a size limit was reached.", place, error.strerror,
                           "free some space or choose another folder, then run the same command again")
    if isinstance(error, FileNotFoundError):
        return FileTrouble("A file or folder does not exist.", place, error.strerror, "check the path")
    if isinstance(error, PermissionError):
        return FileTrouble("A file or folder may not be read or written.", place, error.strerror,
                           "change its permissions, or choose another one")
    return FileTrouble("A file or folder cannot be used.", place, error.strerror or str(error))


def says_full(text: str) -> bool:
    """Whether a tool's messages tell that it could not write because the disk is full or a limit was reached."""
    return any(t in text for t in FULL_TEXTS)


def _text(value) -> str | None:
    return None if value is None else str(value)
