"""What holds between questions: rules in three forms, applied to the labels of a photo, and what each of them overruled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vibe_assets.questions.types import implied

Row = dict[str, Any]  # column of labels -> value; beside it, where it is known, its confidence
Confidences = Mapping[str, str]  # column -> the column of its confidence


@dataclass(frozen=True)
class Rule:
    """The yes_no column `column` is true where the question `question` has one of `keys`, false where it has another, else open."""

    column: str
    question: str
    keys: tuple[str, ...]

    @property
    def decides(self) -> tuple[str, ...]:
        """The columns that it may change."""
        return (self.column,)

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it looks at."""
        return (self.question,)


# -- conditions --------------------------------------------------------------------------------------------------------
class Condition(ABC):
    """What must hold. True, False, or None where the labels leave it open; with how sure that is, None where nobody says."""

    @abstractmethod
    def holds(self, row: Row, confidences: Confidences) -> tuple[bool | None, float | None]: ...

    @abstractmethod
    def reads(self) -> Iterator[str]: ...


@dataclass(frozen=True)
class Is(Condition):
    """A column has one of some values; a list of keys has one of them, or one below it in the tree."""

    column: str
    values: tuple[Any, ...]

    def holds(self, row: Row, confidences: Confidences) -> tuple[bool | None, float | None]:
        value, sure = row.get(self.column), row.get(confidences.get(self.column, ""))
        if value is None:
            return None, None
        if isinstance(value, list):
            found = [key for key in value if any(key == wanted or key.startswith(f"{wanted}.") for wanted in self.values)]
            return bool(found), max((each for key in found if (each := listed(sure, key)) is not None), default=None)
        if isinstance(value, bool) and isinstance(sure, float):
            sure = sure if value else 1 - sure
        return value in self.values, sure

    def reads(self) -> Iterator[str]:
        yield self.column


@dataclass(frozen=True)
class Not(Condition):
    of: Condition

    def holds(self, row: Row, confidences: Confidences) -> tuple[bool | None, float | None]:
        held, sure = self.of.holds(row, confidences)
        return (None if held is None else not held), sure

    def reads(self) -> Iterator[str]:
        return self.of.reads()


@dataclass(frozen=True)
class All(Condition):
    """Every one of them, or at least one where not `every`; open ones leave it open where they could decide it."""

    of: tuple[Condition, ...]
    every: bool = True

    def holds(self, row: Row, confidences: Confidences) -> tuple[bool | None, float | None]:
        held = [condition.holds(row, confidences) for condition in self.of]
        if decisive := [sure for value, sure in held if value is (not self.every)]:
            return not self.every, _extreme(decisive, max)
        if any(value is None for value, _ in held):
            return None, None
        return self.every, _extreme([sure for _, sure in held], min)

    def reads(self) -> Iterator[str]:
        for condition in self.of:
            yield from condition.reads()


# -- rules -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class When:
    """Where `condition` is true, the columns of `then` have these values, whatever was said of them; keys are added to a list of keys."""

    condition: Condition
    then: tuple[tuple[str, Any], ...]

    @property
    def decides(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.then)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.condition.reads()))

    def apply(self, row: Row, confidences: Confidences) -> Iterator[tuple[str, Any, float | None]]:
        held, sure = self.condition.holds(row, confidences)
        if held:
            for column, value in self.then:
                yield column, value, sure


@dataclass(frozen=True)
class Exclusive:
    """Of some yes_no columns one is true at most: the most probable of those that are, the first of equal ones."""

    columns: tuple[str, ...]

    @property
    def decides(self) -> tuple[str, ...]:
        return self.columns

    @property
    def reads(self) -> tuple[str, ...]:
        return self.columns

    def apply(self, row: Row, confidences: Confidences) -> Iterator[tuple[str, Any, float | None]]:
        true = [column for column in self.columns if row.get(column) is True]
        chances = {column: row.get(confidences.get(column, "")) for column in true}
        best = max(true, key=lambda column: chances[column] or 0.0, default=None)
        for column in true:
            if best is not None and column != best:
                yield column, False, chances[best]


General = When | Exclusive


def settle(row: Row, rules: Sequence[General], confidences: Confidences, *, only: frozenset[str] | None = None) -> list[str]:
    """Apply the rules to one photo's labels, in order; `row` is changed. `only`: the columns that may change, all without it.

    Returns what was overruled: "COLUMN=VALUE@PROBABILITY by COLUMN+COLUMN", the probability where one is known.
    """
    overruled: list[str] = []
    for rule in rules:
        for column, value, sure in rule.apply(row, confidences):
            before, beside = row.get(column), confidences.get(column, "")
            if only is not None and column not in only:
                continue
            by = f" by {'+'.join(rule.reads)}"
            if isinstance(value, tuple):
                wanted = dict.fromkeys(each for key in value for each in (key, *(implied(key) if beside in row else ())))
                for key in [key for key in wanted if key not in (before or ())]:
                    overruled.append(f"{key}={said(None)}{by}")
                    row[column] = [*(row.get(column) or []), key]
                    if beside in row:
                        row[beside] = [*(row.get(beside) or []), f"{key}={1.0 if sure is None else sure:.4f}"]
            elif before != value:
                overruled.append(f"{column}={said(before, row.get(beside))}{by}")
                row[column] = value
                if beside in row:
                    row[beside] = None if value is None else 1.0 if sure is None else 1 - sure if value is False else sure
    return overruled


def said(value: Any, probability: float | None = None) -> str:
    """A value and its probability as `overruled` has them."""
    word = "unknown" if value is None else str(value).lower() if isinstance(value, bool) else value
    return word if probability is None else f"{word}@{probability:.4f}"


def listed(entries: Any, key: str) -> float | None:
    """The probability of a key among "KEY=PROBABILITY" entries."""
    return next((float(entry.rpartition("=")[2]) for entry in entries or () if entry.rpartition("=")[0] == key), None)


def _extreme(values: Sequence[float | None], of: Any) -> float | None:
    known = [value for value in values if value is not None]
    return of(known) if known else None
