"""Heads put in force or taken out of it by hand: bound to the encoder they were trained on, judged by the gates of their assets, logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.stages.model_gates import not_worse, of_use_or_too_few
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.students import embedded_photos

if TYPE_CHECKING:
    from vibe_assets.heads.models import TrainedHead


@dataclass(frozen=True)
class ByHand:
    """What a person did: the version in force now ("" for none), and the gates that it failed and that were overruled, gate -> why."""

    version: str
    failed: Mapping[str, str]


def deploy_by_hand(platform: Platform, version: str, *, force: bool = False, now: datetime | None = None) -> ByHand:
    """Put a saved head in force once it passed the gates of its asset; `force` puts a head in force that failed, and logs which it failed.

    Raises HeadError when it is not there, StageError when it failed, or reads vectors of another encoder, which nothing can force.
    """
    from vibe_assets.heads.deployments import Deployments
    from vibe_assets.heads.store import load_head

    folder = platform.settings.heads_dir
    head = load_head(folder / version)
    failed = _judged(platform, head, f"vibe heads deploy {version} --force", force=force)
    Deployments(folder).deploy(head.kind, version, reason=_reason("by hand", failed), at=_moment(now), by=platform.run_id)
    return ByHand(version, failed)


def roll_back(platform: Platform, kind: str, *, force: bool = False, now: datetime | None = None) -> ByHand:
    """Put the head in force that was there before, judged as in `deploy_by_hand`; none where the current one was the first.

    Raises HeadError when none is in force.
    """
    from vibe_assets.heads.deployments import Deployments
    from vibe_assets.heads.store import load_head

    log = Deployments(platform.settings.heads_dir)
    before, failed = log.before(kind), {}
    if before:
        head = load_head(platform.settings.heads_dir / before)
        failed = _judged(platform, head, f"vibe heads rollback {kind} --force", force=force)
    reason = _reason(f"back from {log.current()[kind]}", failed)
    return ByHand(log.rollback(kind, reason=reason, at=_moment(now), by=platform.run_id).version, failed)


def import_head(platform: Platform, file: Path, *, now: datetime | None = None) -> str:
    """Take in a .pt file of the historical layout as a head of the encoder in force and return its version.

    The layout does not say which encoder a head was trained on: one that reads vectors of another length is refused (HeadError).
    """
    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.heads.dataset import head_labels
    from vibe_assets.heads.legacy import import_pt
    from vibe_assets.heads.store import save_head

    encoder = load_encoder(platform.settings.encoder)
    known = [label for question in platform.questions for label in head_labels(question)]
    head = import_pt(file, encoder=encoder.fingerprint, dim=encoder.dim, known=known, created_at=_moment(now))
    return save_head(head, platform.settings.heads_dir)


# -- the gates -----------------------------------------------------------------------------------------------------------
def _judged(platform: Platform, head: TrainedHead, command: str, *, force: bool) -> dict[str, str]:
    """Gate -> why it failed, of a head that may be put in force: none of them without `force`."""
    _bound(platform, head)
    failed = _failed(platform, head)
    if failed and not force:
        told = "\n".join(f"  {name}: {why}" for name, why in failed.items())
        raise StageError(f"{head.version} failed the gates of {head.kind}_head and stays out of force:\n{told}\n`{command}` overrules them")
    return failed


def _reason(what: str, failed: Mapping[str, str]) -> str:
    """As the log keeps it."""
    told = "; ".join(f"{name} ({why})" for name, why in failed.items())
    return f"{what}, forced although it failed {told}" if failed else what


def _bound(platform: Platform, head: TrainedHead) -> None:
    """Raises StageError for a head of another encoder than the library's vectors, or than the settings' before there are any."""
    from vibe_assets.encoders.base import load_encoder

    known = set(embedded_photos(platform)["encoder"]) or {load_encoder(platform.settings.encoder).fingerprint}
    if head.card.encoder not in known:
        raise StageError(
            f"{head.version} was trained on vectors of encoder {head.card.encoder} and can read no others; here they are of "
            f"{', '.join(sorted(known))}: set encoder.name back, or train a head on them with `vibe train {head.kind}`"
        )


def _failed(platform: Platform, head: TrainedHead) -> dict[str, str]:
    """Blocking gate -> why it did not pass. Without photos to judge on there is none to pass."""
    if embedded_photos(platform).is_empty():
        return {"beats_majority": "no photo of the library has a vector, so nothing tells whether the head is of use"}
    gates = {"beats_majority": of_use_or_too_few(platform, head), "not_worse_than_deployed": not_worse(platform, head)}
    return {name: str(gate.facts.get("note") or gate.remedy) for name, gate in gates.items() if not gate.passed}


def _moment(now: datetime | None) -> str:
    return (now or datetime.now(UTC)).isoformat(timespec="seconds")
