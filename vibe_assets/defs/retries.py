"""What failed and is tried again by itself: what, why, how often it was tried, and when it is tried next."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from vibe_assets.defs.plan import Cell, State, Status
from vibe_assets.errors import with_remedy
from vibe_assets.strangers import visible

_CLASS = re.compile(r"^(?:[a-z_]\w*\.)+(\w+)(?:: |$)")  # how Dagster begins an error: with the path of its class
_WRAPPED = "dagster._core.errors."  # Dagster's own layers around what a step raised; a cause below that is history, not the message
ENDED_BADLY = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}


@dataclass(frozen=True)
class Retry:
    """One asset, or one folder of it, that waits for its next try."""

    asset: str
    partition: str | None
    reason: str  # one line
    failures: int  # tries with the same inputs
    next_try: datetime  # UTC
    run_id: str = ""


def paused(instance: dg.DagsterInstance, statuses: Mapping[Cell, Status]) -> list[Retry]:
    """What of a plan waits for a next try, the soonest first."""
    found = []
    for cell, status in statuses.items():
        if status.state == State.PAUSED and (attempt := status.attempt):
            at = datetime.fromtimestamp(attempt.next_try, UTC)
            found.append(Retry(cell.asset, cell.folder, reason_of(instance, attempt.run_id), attempt.tries, at, attempt.run_id))
    return sorted(found, key=lambda retry: (retry.next_try, retry.asset, retry.partition or ""))


def _named(path: re.Match[str]) -> str:
    """Our own errors speak for themselves; of others, the class's name says what kind of mishap it was."""
    own = path[0].startswith("vibe_assets.") and path[0].endswith(": ")
    return "" if own else path[1] + path[0][path.end(1) - path.start() :]


def reason_of(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first line of what ended a run: the error of its step, else what Dagster says of the run."""
    for record in instance.get_records_for_run(run_id, of_type=ENDED_BADLY).records:
        event = record.event_log_entry.dagster_event
        error = getattr(event.event_specific_data, "error", None) if event else None
        while error is not None and error.cause is not None and error.message.startswith(_WRAPPED):
            error = error.cause
        if text := (error.message if error is not None else (event.message if event else "")) or "":
            return visible(with_remedy(_CLASS.sub(_named, text.strip().splitlines()[0])))
    return "it ended without a word"
