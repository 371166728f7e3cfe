"""The `vibe` command: thin, over the same functions that the assets call."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vibe_assets.stages.platform import Platform

USER_ERRORS = (
    "SettingsError",
    "StageError",
    "LakeError",
    "TeacherError",
    "TaxonomyError",
    "AuditedFileError",
    "LabelsFileError",
    "EncoderError",
    "HeadError",
    "LibraryVanished",
    "PromotionRefused",
    "UiError",
    "PhotoRejected",
    "ReplayError",
    "DemoError",
)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
OUT = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


class Vibe(click.Group):
    """Words the errors that users can mend as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if type(error).__name__ in USER_ERRORS or isinstance(error, OSError):
                raise click.ClickException(str(error)) from error
            raise


@click.group(cls=Vibe, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", type=OUT, envvar="VIBE_CONFIG", help="Settings file (default: ./vibe.toml, then ./demo/vibe.toml).")
@click.version_option(package_name="vibe-assets")
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Label photo libraries: a teacher annotates, people audit, small students learn, gates decide, the runtime labels.

    \b
    First steps
      vibe demo                      everything end to end on rendered photos
      vibe init ~/Pictures           write a commented vibe.toml for your own photos
      vibe doctor                    check photo root, teacher, encoder, disk
      vibe ui                        Dagster UI and daemon on http://127.0.0.1:3000
    """
    ctx.obj = config
    if config is not None:
        os.environ["VIBE_CONFIG"] = str(config.resolve())


def platform() -> Platform:
    from vibe_assets.stages.platform import Platform

    return Platform.open()


@contextmanager
def busy(text: str) -> Iterator[None]:
    """A spinner on a terminal, silence elsewhere."""
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def show(title: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    Console().print(table)


# -- set up ------------------------------------------------------------------------------------------------------------
@main.command()
@click.argument("photos", required=False, type=click.Path(path_type=Path))
@click.option("--output", type=OUT, default=Path("vibe.toml"), show_default=True)
@click.option("--force", is_flag=True, help="Write over an existing file.")
def init(photos: Path | None, output: Path, force: bool) -> None:
    """Write a commented vibe.toml.

    \b
    Example: vibe init ~/Pictures
    """
    from vibe_assets.operate.setup import write_settings

    click.echo(f"wrote {write_settings(output, root=photos, force=force)}; look through it, then run `vibe doctor`")


@main.command()
def doctor() -> None:
    """Check the set-up and say what to mend."""
    from vibe_assets.operate.setup import examine

    sick = 0
    for finding in examine(platform().settings):
        mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red")
        click.echo(f"{mark} {finding.what}: {finding.detail}")
        if not finding.ok:
            sick += 1
            click.echo(f"     -> {finding.remedy}")
    sys.exit(1 if sick else 0)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=3000, show_default=True)
@click.option("--no-daemon", is_flag=True, help="Serve the pages only: no sensors, schedules or queued runs.")
@click.option("--read-only", is_flag=True, help="Show, but allow no run and no change.")
def ui(host: str, port: int, no_daemon: bool, read_only: bool) -> None:
    """Serve the Dagster UI and daemon of this installation, guarded against other sites' pages."""
    from vibe_assets.demo.run import teacher_for_demo
    from vibe_assets.operate.ui import serve

    with teacher_for_demo(platform().settings):
        serve(host=host, port=port, daemon=not no_daemon, read_only=read_only)


@main.command()
@click.option("--folder", type=OUT, default=Path("demo"), show_default=True, help="Where photos, lake and reports of the demo go.")
@click.option("--photos", default=280, show_default=True, help="How many photos to render.")
def demo(folder: Path, photos: int) -> None:
    """Run the whole lineage through Dagster on a rendered library: no network service, no GPU."""
    from vibe_assets.demo.run import run_demo

    passed = run_demo(folder, photos=photos)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if passed else 1)  # everything is closed; DuckDB 2.0 would print a page about its own bindings at interpreter exit


# -- library -----------------------------------------------------------------------------------------------------------
@main.command()
@click.option("--accept-missing", is_flag=True, help="Folders and photos that vanished are really gone: accept it.")
def folders(accept_missing: bool) -> None:
    """Look at the photo root and list its folders with their partition keys."""
    from vibe_assets.stages.library import look_at_folders, scan_folder

    home = platform()
    look = look_at_folders(home, accept_missing=accept_missing)
    for key in look.listings if accept_missing else ():
        scan_folder(home, key, accept_missing=True)
    show("Folders", ["partition", "folder", "files"], list(look.folders.select("folder_key", "rel_path", "files").iter_rows()))
    for problem in look.problems:
        click.echo(f"cannot read {problem.rel_path}: {problem.reason} ({problem.detail})", err=True)


# -- teacher -----------------------------------------------------------------------------------------------------------
@main.command()
@click.option("--root", type=FOLDER, help="Folder of photos (default: library.root).")
@click.option("--output", type=OUT, required=True, help="JSON lines, one answer each; appended to.")
@click.option("--limit", type=click.IntRange(min=1), help="New photos at the most.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on where the output file ends.")
def annotate(root: Path | None, output: Path, limit: int | None, resume: bool) -> None:
    """Annotate photos into a JSONL, on a machine that has only the photos and the teacher.

    \b
    Example: QWEN_BASE_URL=http://127.0.0.1:8000/v1 vibe annotate --root ~/Pictures --output answers.jsonl --limit 100
    """
    from vibe_assets.settings import load_settings
    from vibe_assets.stages.standalone import annotate_root

    settings = load_settings()
    done = annotate_root(settings, root or settings.root, output, limit=limit, resume=resume)
    click.echo(f"{done.path}: {done.answered} of {done.photos} photos answered" + "".join(f", {n} {why}" for why, n in done.failed.items()))


@main.command("import-annotations")
@click.argument("file", type=FILE)
@click.option("--as-current", is_flag=True, help="Lines that name a model, or no teacher at all, are the current teacher's.")
def import_annotations(file: Path, as_current: bool) -> None:
    """Bring a JSONL of answers home; answers of other teachers are kept apart."""
    from vibe_assets.teacher.annotate import import_annotations as bring
    from vibe_assets.teacher.annotate import teacher_fingerprint

    settings = platform().settings
    mapped = teacher_fingerprint(settings.teacher) if as_current else None
    click.echo(str(bring(file, settings.journal_dir, as_teacher=mapped)))
    click.echo("materialise `annotations` (vibe ui) to take them into the library; none of them is asked again")


@main.group()
def teacher() -> None:
    """The current teacher and a candidate on trial."""


@teacher.command("show")
def teacher_show() -> None:
    """Who teaches, and who is on trial."""
    from vibe_assets.teacher.annotate import teacher_fingerprint

    current = platform().settings.teacher
    rows = [("current", current.model, current.prompt, teacher_fingerprint(current))]
    if current.candidate is not None:
        rows.append(("candidate", current.candidate.model, current.candidate.prompt, teacher_fingerprint(current.candidate)))
    show("Teacher", ["", "model", "prompt", "fingerprint"], rows)


@teacher.command("trial")
def teacher_trial() -> None:
    """Let [teacher.candidate] annotate the audited photos and compare it with the current teacher."""
    from vibe_assets.stages.teacher import try_candidate

    trial = try_candidate(platform())
    click.echo(trial.comparison.verdict)
    click.echo("`vibe teacher promote` is allowed" if trial.allowed else "`vibe teacher promote` is refused")


@teacher.command("promote")
@click.option("--force", is_flag=True, help="Promote although the trial speaks against it.")
def teacher_promote(force: bool) -> None:
    """Make the candidate the teacher in the settings file, when its trial allows it."""
    from vibe_assets.operate.promote import promote_candidate

    click.echo(f"{promote_candidate(platform(), force=force)} is the teacher now; a running daemon re-annotates the library with it")


@main.command("replay-teacher")
@click.option("--answers", type=FILE, required=True, help="JSONL of answers by path or image_id.")
@click.option("--photos", type=FOLDER, required=True, help="The photos those answers are about.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8788, show_default=True)
@click.option("--latency", default=0.0, show_default=True, help="Seconds before each answer.")
@click.option("--p-429", default=0.0, help="Share of requests refused with 429 and Retry-After.")
@click.option("--p-500", default=0.0, help="Share of requests that fail with 500.")
@click.option("--p-timeout", default=0.0, help="Share of requests that never answer.")
@click.option("--p-invalid", default=0.0, help="Share of answers that are not JSON.")
@click.option("--p-fenced", default=0.0, help="Share of answers in a Markdown fence.")
@click.option("--p-dropped", default=0.0, help="Share of connections dropped.")
def replay_teacher(answers: Path, photos: Path, host: str, port: int, latency: float, **shares: float) -> None:
    """Serve recorded answers as an OpenAI-compatible teacher, faults included.

    \b
    Example: vibe replay-teacher --answers answers.jsonl --photos ~/Pictures --latency 0.3 --p-429 0.05
    """
    from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, serve

    faults = ReplayFaults(
        latency_s=latency,
        p_429=shares["p_429"],
        p_500=shares["p_500"],
        p_timeout=shares["p_timeout"],
        p_invalid_json=shares["p_invalid"],
        p_fenced=shares["p_fenced"],
        p_dropped=shares["p_dropped"],
    )
    replay = ReplayTeacher(answers, photos, faults=faults)
    click.echo(f"replay teacher on http://{host}:{port}/v1 (Ctrl-C ends it)")
    serve(replay, host=host, port=port)


# -- truth -------------------------------------------------------------------------------------------------------------
@main.command()
def sample() -> None:
    """Draw the audit sample and write the file that people check."""
    from vibe_assets.stages.truth import draw_audit_sample, sample_file

    home = platform()
    rows = draw_audit_sample(home)
    click.echo(f"{rows.height} photos in {sample_file(home)}; correct the labels there, then: vibe audited {sample_file(home)}")


@main.command()
@click.argument("file", type=FILE)
def audited(file: Path) -> None:
    """Accept an audited file: every line is checked, one wrong line refuses it all."""
    from vibe_assets.stages.truth import accept_audited

    home = platform()
    rows = accept_audited(home, file)
    click.echo(f"{rows.height} audited photos accepted as {home.settings.audited_file}; the daemon takes it from here")


@main.command("eval", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def evaluate(arguments: tuple[str, ...]) -> None:
    """Score labels against people's (same as python -m vibe_assets.eval.labels)."""
    from vibe_assets.eval.labels import main as run

    sys.exit(run(list(arguments)))


@main.command()
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def report(in_browser: bool) -> None:
    """Where the reports lie: one page that leads to all of them.

    \b
    Example: vibe report --open
    """
    from vibe_assets.stages.reports import write_index

    page = write_index(platform())
    click.echo(page)
    if in_browser:
        click.launch(page.as_uri())


# -- students ----------------------------------------------------------------------------------------------------------
@main.command()
@click.argument("kinds", nargs=-1, type=click.Choice(["scene", "attribute", "object"]))
@click.option("--deploy", is_flag=True, help="Deploy what does not lose to the head in force.")
def train(kinds: tuple[str, ...], deploy: bool) -> None:
    """Train heads on what is in the lake (default: all three)."""
    from vibe_assets.stages.students import KINDS, deploy_students, scores_markdown, train_student

    home = platform()
    for kind in kinds or KINDS:
        trained = train_student(home, kind)
        click.echo(f"{trained.version}: {trained.head.card.n_train} photos in {trained.seconds:.1f} s -> {trained.path}")
        click.echo(scores_markdown(trained))
    if deploy:
        for kind, decision in deploy_students(home).items():
            click.echo(f"{kind}: in force {decision.in_force} ({decision.reason})")


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of a table.")
def classify(paths: tuple[Path, ...], as_json: bool) -> None:
    """Label photos with the deployed heads.

    \b
    Example: vibe classify ~/Pictures/2024/IMG_1234.jpg
    """
    from vibe_assets.stages.runtime import classify_paths

    rows = classify_paths(platform(), paths)
    if as_json:
        sys.stdout.write(rows.write_ndjson())
        return
    show("Labels", ["photo", "scene", "attributes", "objects", "note"], [_labels_line(row) for row in rows.iter_rows(named=True)])


def _labels_line(row: dict[str, Any]) -> tuple[Any, ...]:
    from vibe_assets.records import ATTRIBUTES

    sure = row["scene_confidence"]
    scene = f"{(row['scene'] or 'open').removeprefix('scene.')}" + (f" {sure:.2f}" if sure is not None else "")
    attributes = [
        f"{name} {row[f'{name}_confidence'] or 0:.2f}" if row[f"{name}_confidence"] is not None else name
        for name in ATTRIBUTES
        if row[name]
    ]
    objects = [pair.removeprefix("object.").replace("=", " ") for pair in row["object_confidences"] or ()]
    return (
        row["rel_path"],
        scene,
        ", ".join(attributes),
        ", ".join(objects),
        row["reason"] or ("" if row["source"] == "student" else row["source"]),
    )


@main.group()
def heads() -> None:
    """Trained heads: which are in force, deploy, roll back, exchange."""


@heads.command("list")
def heads_list() -> None:
    """Every trained head, and which one is in force."""
    from vibe_assets.heads.store import load_head, saved_heads
    from vibe_assets.stages.students import deployments

    home = platform()
    current = set(deployments(home).values())
    found = [(version, load_head(home.settings.heads_dir / version).card) for version in saved_heads(home.settings.heads_dir)]
    rows = [("*" if version in current else "", version, len(card.labels), card.n_train, card.created_at) for version, card in found]
    show("Heads (* in force)", ["", "version", "labels", "photos", "trained"], rows)


@heads.command("deploy")
@click.argument("version")
def heads_deploy(version: str) -> None:
    """Put a trained head in force."""
    from datetime import UTC, datetime

    from vibe_assets.heads.deployments import Deployments
    from vibe_assets.heads.store import load_head

    folder = platform().settings.heads_dir
    head = load_head(folder / version)
    Deployments(folder).deploy(head.kind, version, reason="by hand", at=datetime.now(UTC).isoformat(timespec="seconds"), by="cli")
    click.echo(f"{version} is in force")


@heads.command("rollback")
@click.argument("kind", type=click.Choice(["scene", "attribute", "object"]))
def heads_rollback(kind: str) -> None:
    """Return to the head that was in force before."""
    from datetime import UTC, datetime

    from vibe_assets.heads.deployments import Deployments

    entry = Deployments(platform().settings.heads_dir).rollback(kind, at=datetime.now(UTC).isoformat(timespec="seconds"), by="cli")
    click.echo(f"{entry.version} is in force again")


@heads.command("export")
@click.argument("version")
@click.argument("file", type=OUT)
def heads_export(version: str, file: Path) -> None:
    """Write a head as a .pt file in the historical layout."""
    from vibe_assets.heads.legacy import export_pt
    from vibe_assets.heads.store import load_head

    export_pt(load_head(platform().settings.heads_dir / version), file)
    click.echo(f"wrote {file}")


@heads.command("import")
@click.argument("file", type=FILE)
def heads_import(file: Path) -> None:
    """Take in a .pt file of the historical layout (weights only; pickled code is refused)."""
    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.heads.legacy import import_pt
    from vibe_assets.heads.store import save_head
    from vibe_assets.records import ATTRIBUTES
    from vibe_assets.stages.truth import load_taxonomy

    home = platform()
    settings, taxonomy = home.settings, load_taxonomy(home)
    known = (*taxonomy.scenes, *ATTRIBUTES, *taxonomy.objects)
    version = save_head(import_pt(file, encoder=load_encoder(settings.encoder).fingerprint, known=known), settings.heads_dir)
    click.echo(f"{version}; `vibe heads deploy {version}` puts it in force")


# -- queries and measurements ------------------------------------------------------------------------------------------
@main.command()
@click.argument("query")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of a table.")
def sql(query: str, as_json: bool) -> None:
    """Ask the lake's tables, and the published file as `warehouse.*`, in DuckDB's SQL.

    \b
    Example: vibe sql "select scene, count(*) from predictions group by all order by 2 desc"
    """
    import duckdb

    home = platform()
    connection = home.lake.connect(home.settings.warehouse_file)
    try:
        result = connection.sql(query)
    except duckdb.Error as error:
        raise click.ClickException(str(error)) from error
    if result is None:
        return
    rows = result.pl()
    if as_json:
        sys.stdout.write(rows.write_ndjson())
    else:
        show("", rows.columns, list(rows.iter_rows()))


@main.group()
def bench() -> None:
    """Measure this machine."""


@bench.command("embed")
@click.argument("folder", type=FOLDER, required=False)
@click.option("--most", default=256, show_default=True, help="Photos to measure on.")
def bench_embed(folder: Path | None, most: int) -> None:
    """Photos per second of the encoder: whole pipeline, decoding alone, forward pass alone."""
    from vibe_assets.encoders.bench import bench as measure

    settings = platform().settings
    click.echo(str(measure(folder or settings.root, settings.encoder, limit=most)))


if __name__ == "__main__":
    main()
