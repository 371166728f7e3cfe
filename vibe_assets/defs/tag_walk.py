"""The study from end to end as runs of its assets: ingest, diagnose, ask every model, rank; dataset, fine-tune, ask, rank.

Its assets have three kinds of partitions (batches, cells of batch and model, none), which no single run can hold. So each step starts
the runs it needs, in this process, and each is recorded in the instance like any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from vibe_assets.defs import tags, vlm
from vibe_assets.defs.drive import QUIET
from vibe_assets.defs.resources import Installation

LAUNCHED_BY = {"launched_by": "tag study"}


@dataclass(frozen=True)
class Ran:
    """One run: the asset, its partition, whether it succeeded, and the checks that did not pass."""

    asset: str
    partition: str | None
    success: bool
    not_passed: tuple[str, ...]
    error: str = ""


@dataclass(frozen=True)
class Walk:
    """Starts runs of the study's assets on one instance."""

    instance: dg.DagsterInstance

    def run(self, name: str, *, partition: str | dg.MultiPartitionKey | None = None, config: Mapping[str, Any] | None = None) -> Ran:
        """Materialise one asset with its checks, and record it."""
        everything = [*tags.assets, *vlm.assets, *tags.checks, *vlm.checks]
        result = dg.materialize(
            everything,
            selection=dg.AssetSelection.assets(name),
            instance=self.instance,
            partition_key=partition,
            resources={"installation": Installation()},
            run_config={**QUIET, **({"ops": {name: {"config": dict(config)}}} if config else {})},
            raise_on_error=False,
            tags=LAUNCHED_BY,
        )
        failed = tuple(check.check_name for check in result.get_asset_check_evaluations() if not check.passed)
        errors = [event.step_failure_data.error for event in result.get_step_failure_events() if event.step_failure_data.error]
        return Ran(name, None if partition is None else str(partition), result.success, failed, _cause(errors))

    # -- steps ---------------------------------------------------------------------------------------------------------
    def ingest(self, batch: str, source: Mapping[str, Any]) -> Ran:
        """Make the batch's partition and fill it; a new one that nothing came into goes again."""
        name = tags.batches.name or ""
        known = self.instance.has_dynamic_partition(name, batch)
        self.instance.add_dynamic_partitions(name, [batch])
        ran = self.run("tagged_photos", partition=batch, config=source)
        if not known and not ran.success and not ran.not_passed:
            self.instance.delete_dynamic_partition(name, batch)
        return ran

    def diagnose(self, batch: str) -> Ran:
        return self.run("tag_diagnostics", partition=batch)

    def ask(self, batches: Sequence[str], models: Sequence[str], *, limit: int | None = None) -> list[Ran]:
        """One run per cell of batch and model."""
        self.instance.add_dynamic_partitions(tags.models.name or "", list(models))
        config = {"limit": limit} if limit is not None else None
        keys = [dg.MultiPartitionKey({"batch": batch, "model": model}) for batch in batches for model in models]
        return [self.run("tag_predictions", partition=key, config=config) for key in keys]

    def rank(self) -> Ran:
        return self.run("leaderboard")

    def dataset(self, **knobs: Any) -> Ran:
        return self.run("instruction_dataset", config=knobs or None)

    def finetune(self, **knobs: Any) -> Ran:
        return self.run("lora_adapter", config=knobs)


def _cause(errors: Sequence[Any]) -> str:
    """The innermost message of the first failure: Dagster wraps what an asset raises."""
    error = errors[0] if errors else None
    while error is not None and error.cause is not None:
        error = error.cause
    return "" if error is None else " ".join(error.message.split())
