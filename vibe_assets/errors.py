"""The base class of every error that a user can mend: commands and pages show its text, never a traceback."""

from __future__ import annotations


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
