"""The base class of every error that a user can mend: commands and pages show its text, never a traceback."""

from __future__ import annotations

import errno
import re


class UserError(Exception):
    """`message` names the file or setting and what is wrong with it; `remedy`, where it is kept apart, says what to do."""

    def __init__(self, message: str = "", *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    @property
    def message(self) -> str:
        """What is wrong, without the remedy."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


_FULL = re.compile(rf"\[errno ({errno.ENOSPC}|{errno.EDQUOT})\]|no space left on device|disk quota exceeded", re.IGNORECASE)


def with_remedy(said: str) -> str:
    """What an error says, and what to do where only the system's own words for a full disk stand there."""
    return f"{said}; free some space" if _FULL.search(said) and "free some space" not in said else said
