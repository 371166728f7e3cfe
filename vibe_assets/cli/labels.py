"""What photos are asked: the label file, the prompt made from it, and what another file would change."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vibe_assets.cli.app import FILE, main, platform, show, tell


@main.group()
def labels() -> None:
    """What photos are asked: questions and labels, from one file ([labels] taxonomy)."""


@labels.command("show")
@click.option("--file", "as_file", is_flag=True, help="The whole file, to be edited.")
@click.option(
    "--pack",
    metavar="NAME",
    help="A starter file instead: shop (goods for sale), wildlife (a trail camera), zuhause (a family, in German), "
    "first_version (the objects of the platform's first version).",
)
def labels_show(as_file: bool, pack: str | None) -> None:
    """The questions in force.

    \b
    Example: vibe labels show --file > labels.yaml            then [labels] taxonomy = "labels.yaml"
             vibe labels show --pack wildlife > labels.yaml
    """
    from importlib.resources import files

    from vibe_assets.questions import packs

    if pack is not None:
        if pack not in (known := packs()):
            raise click.UsageError(f"no starter file {pack!r}; there are {', '.join(known)}")
        return tell(known[pack], file=known[pack])
    home = platform()
    if as_file:
        path = home.settings.labels.taxonomy
        packaged = files("vibe_assets.questions").joinpath("labels.yaml")
        tell((home.settings.base / path if path else packaged).read_text(encoding="utf-8-sig"))
        return None
    rows = [
        (question.key, question.type, len(question.labels), question.asked, "yes" if question.trained else "no", home.questions.file)
        for question in home.questions
    ]
    return show("Questions", ["question", "type", "labels", "asked of", "learnt", "file"], rows, name="questions")


@labels.command("prompt")
def labels_prompt() -> None:
    """What the teacher is told, and the JSON schema of its answers."""
    from vibe_assets.teacher.prompts import MADE, load_prompt, unmentioned

    home = platform()
    prompt = load_prompt(home.settings.teacher.prompt, home.questions)
    tell(prompt, prompt=prompt)
    tell(f"\n{json.dumps(home.questions.schema, indent=2, ensure_ascii=False)}", schema=home.questions.schema)
    if home.settings.teacher.prompt != MADE and (missing := unmentioned(prompt, home.questions)):
        raise click.ClickException(
            f"{home.settings.teacher.prompt} does not mention {', '.join(missing[:10])}: the teacher would not know that it may answer so; "
            f"add it, or set teacher.prompt to {MADE}"
        )


@labels.command("diff")
@click.argument("file", type=FILE, required=False)
def labels_diff(file: Path | None) -> None:
    """What FILE would change, before anything is paid: which questions, how many photos are asked, at how many tokens.

    \b
    Example: vibe labels diff my-labels.yaml      (without FILE: the packaged one)
    """
    from dataclasses import asdict

    from vibe_assets.stages.labels import label_difference

    found = label_difference(platform(), file)
    tell("\n".join(found.lines), **asdict(found))
