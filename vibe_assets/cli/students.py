"""Train, deploy and use the heads."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vibe_assets.cli.app import FILE, OUT, keep, main, nothing, platform, show, tell
from vibe_assets.words import some

if TYPE_CHECKING:
    from vibe_assets.questions import Question, Questions
    from vibe_assets.stages.platform import Platform


@main.command()
@click.argument("kinds", nargs=-1)
@click.option("--deploy", is_flag=True, help="Deploy what does not lose to the head in force.")
def train(kinds: tuple[str, ...], deploy: bool) -> None:
    """Train heads on what is in the lake (default: all that the label file has)."""
    from vibe_assets.stages.notes import noted
    from vibe_assets.stages.students import NOTHING, Untrained, deploy_students, scores_markdown, train_student

    home, absent, made = platform(), dict[str, str](), list[dict[str, Any]]()
    wanted = kinds or home.questions.heads
    for kind in wanted:
        _check_kind(home, kind)
    for kind in wanted:
        with noted(home, f"{kind}_head"):
            trained = train_student(home, kind)
        if isinstance(trained, Untrained):
            absent[kind] = f"{kind}: {NOTHING}{trained.reason}"
            tell(absent[kind], absent=absent)
            continue
        card = trained.head.card
        made.append({"version": trained.version, "photos": card.n_train, "seconds": trained.seconds, "folder": trained.path})
        made[-1]["scores"] = card.metrics
        tell(f"{trained.version}: {some(card.n_train, 'photo')} in {trained.seconds:.1f} s -> {trained.path}", heads=made)
        tell(scores_markdown(trained))
    if deploy:
        with noted(home, "deployed_heads"):
            decisions = deploy_students(home)
        for kind, decision in decisions.items():
            tell(f"{kind}: in force {decision.in_force or 'none'} ({decision.reason})")
        keep(deployed={kind: {"in_force": one.in_force or None, "reason": one.reason} for kind, one in decisions.items()})
    if len(absent) == len(wanted):
        raise click.ClickException("no head was trained: " + next(iter(absent.values())))


@main.command(prints=False)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of a table.")
def classify(paths: tuple[Path, ...], as_json: bool) -> None:
    """Label photos with the deployed heads.

    \b
    Example: vibe classify ~/Pictures/2024/IMG_1234.jpg
    """
    from vibe_assets.stages.runtime import classify_paths

    home = platform()
    rows = classify_paths(home, paths)
    if as_json:
        sys.stdout.write(rows.write_ndjson())
    else:
        columns = ["photo", *(home.questions.name(question.key) for question in home.questions), "note"]
        show("Labels", columns, [_labels_line(row, home.questions) for row in rows.iter_rows(named=True)])
    if rows["reason"].null_count() == 0:
        nothing(f"no photo could be read: {rows['detail'][0]}" if rows.height else "no photo in what was given")
    read = rows.filter(rows["reason"].is_null())
    if not any(
        row["source"] == "student" or any(row[name] not in (None, []) for name in home.questions.columns) for row in read.to_dicts()
    ):
        nothing("no photo has a label: no head is in force; `vibe train --deploy` trains some, `vibe heads list` shows those there are")


def _check_kind(home: Platform, kind: str) -> None:
    """Raises UsageError for a head that no question of the label file has."""
    if kind not in home.questions.heads:
        raise click.UsageError(f"{kind!r} is no head: use one of {', '.join(home.questions.heads)}")


def _labels_line(row: dict[str, Any], questions: Questions) -> tuple[Any, ...]:
    from vibe_assets.records.answers import source_in_words

    said = [", ".join(_said(row, question, questions)) for question in questions]
    return (row["rel_path"], *said, row["reason"] or source_in_words(row["source"]))


def _said(row: dict[str, Any], question: Question, questions: Questions) -> list[str]:
    """The labels of a question that hold, with their confidence."""
    from vibe_assets.questions import ManyOf, OneOf

    match question:
        case OneOf():
            (field,) = question.fields
            key = row[field.name] or "open"
            return [_sure(questions.name(key, key.removeprefix(f"{question.prefix}.")), row[field.confidence])]
        case ManyOf():
            (field,) = question.fields
            pairs = (pair.rpartition("=") for pair in row[field.confidence] or ())
            return [f"{questions.name(key, key.removeprefix(f'{question.prefix}.'))} {sure}" for key, _, sure in pairs]
    return [_sure(questions.name(field.name), row[field.confidence]) for field in question.fields if row[field.name]]


def _sure(word: str, confidence: float | None) -> str:
    return word if confidence is None else f"{word} {confidence:.2f}"


@main.group()
def heads() -> None:
    """Trained heads: which are in force, deploy, roll back, exchange."""


@heads.command("list")
def heads_list() -> None:
    """Every trained head, and which one is in force."""
    from vibe_assets.heads.store import load_head, saved_heads
    from vibe_assets.stages.students import deployments, headless

    home = platform()
    current = set(deployments(home).values())
    found = [(version, load_head(home.settings.heads_dir / version).card) for version in saved_heads(home.settings.heads_dir)]
    rows = [("*" if version in current else "", version, len(card.labels), card.n_train, card.created_at) for version, card in found]
    records = [
        {"version": version, "in_force": version in current, "labels": card.labels, "photos": card.n_train, "trained": card.created_at}
        for version, card in found
    ]
    show("Heads (* in force)", ["", "version", "labels", "photos", "trained"], rows, name="heads", records=records)
    for kind, reason in (absent := headless(home)).items():
        tell(f"{kind}: {reason}", absent=absent)


FORCE = click.option("--force", is_flag=True, help="Even if it fails a gate of its asset; the log keeps which.")


@heads.command("deploy")
@click.argument("version")
@FORCE
def heads_deploy(version: str, force: bool) -> None:
    """Put a trained head in force, once it passed the gates of its asset."""
    from vibe_assets.stages.deploying import deploy_by_hand
    from vibe_assets.stages.notes import noted

    home = platform()
    with noted(home, "deployed_heads"):
        done = deploy_by_hand(home, version, force=force)
    tell(f"{done.version} is in force{_although(done.failed)}", version=done.version, failed=done.failed)


@heads.command("rollback")
@click.argument("kind")
@FORCE
def heads_rollback(kind: str, force: bool) -> None:
    """Return to the head that was in force before; to none, where there was none."""
    from vibe_assets.stages.deploying import roll_back
    from vibe_assets.stages.notes import noted

    home = platform()
    _check_kind(home, kind)
    with noted(home, "deployed_heads"):
        done = roll_back(home, kind, force=force)
    said = f"{done.version} is in force again{_although(done.failed)}" if done.version else f"no {kind} head is in force any more"
    tell(said, version=done.version or None, failed=done.failed)


def _although(failed: Mapping[str, str]) -> str:
    return f", although it failed {', '.join(failed)}" if failed else ""


@heads.command("export")
@click.argument("version")
@click.argument("file", type=OUT)
def heads_export(version: str, file: Path) -> None:
    """Write a head as a .pt file in the historical layout."""
    from vibe_assets.heads.legacy import export_pt
    from vibe_assets.heads.store import load_head

    export_pt(load_head(platform().settings.heads_dir / version), file)
    tell(f"wrote {file}", file=file)


@heads.command("import")
@click.argument("file", type=FILE)
def heads_import(file: Path) -> None:
    """Take in a .pt file of the historical layout (weights only; pickled code is refused)."""
    from vibe_assets.stages.deploying import import_head

    version = import_head(platform(), file)
    tell(f"{version}; `vibe heads deploy {version}` judges it and puts it in force", version=version)
