"""One gate function becomes one asset check; a failure names its numbers and what to do."""

import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg

from vibe_assets.defs.history import CRASHED
from vibe_assets.defs.partitions import folders
from vibe_assets.defs.resources import Installation
from vibe_assets.stages.gates import Gate
from vibe_assets.stages.platform import Platform
from vibe_assets.strangers import visible


def gate_check(asset: Any, name: str, judge: Callable[[Platform], Gate], *, blocking: bool = True) -> dg.AssetChecksDefinition:
    """A check on an unpartitioned asset. Blocking gates stop what is downstream; the others warn."""

    @dg.asset_check(asset=asset, name=name, blocking=blocking, description=_sentence(judge))
    def check(context: dg.AssetCheckExecutionContext, installation: Installation) -> dg.AssetCheckResult:
        return _judged(lambda: judge(installation.open(context)), context, blocking=blocking)

    return check


def folder_check(asset: Any, name: str, judge: Callable[[Platform, str], Gate], *, blocking: bool = True) -> dg.AssetChecksDefinition:
    """A check on one folder's partition of an asset."""

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # partitioned checks: tried on the pinned version, see docs/log.md

        @dg.asset_check(asset=asset, name=name, blocking=blocking, partitions_def=folders, description=_sentence(judge))
        def check(context: dg.AssetCheckExecutionContext, installation: Installation) -> dg.AssetCheckResult:
            return _judged(lambda: judge(installation.open(context), context.partition_key), context, blocking=blocking)

    return check


def _judged(judge: Callable[[], Gate], context: dg.AssetCheckExecutionContext, *, blocking: bool) -> dg.AssetCheckResult:
    """The gate's result. One that cannot judge has not passed, says why, and is asked again later (defs/plan.py)."""
    try:
        return _result(judge(), blocking=blocking)
    except Exception as error:
        context.log.exception("the gate could not judge")
        severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN
        why = visible(f"{type(error).__name__}: {error}".splitlines()[0])
        return dg.AssetCheckResult(passed=False, severity=severity, description=f"{CRASHED}: {why}", metadata={CRASHED: why})


def _result(gate: Gate, *, blocking: bool) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN
    metadata = {name: _shown(value) for name, value in gate.facts.items()}
    if gate.passed:
        return dg.AssetCheckResult(passed=True, severity=severity, metadata=metadata)
    return dg.AssetCheckResult(passed=False, severity=severity, description=gate.remedy, metadata={**metadata, "what to do": gate.remedy})


def _shown(value: Any) -> Any:
    return dg.MetadataValue.json(value) if isinstance(value, dict | list | tuple) else value if value is not None else "none"


def _sentence(judge: Callable[..., Gate]) -> str:
    return (judge.__doc__ or "").strip().splitlines()[0]
