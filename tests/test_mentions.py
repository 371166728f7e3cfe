"""Every `vibe` command that a message, a help text or a page names can be typed: it exists, with the options that are named."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from vibe_assets.cli import main

REPOSITORY = Path(__file__).parents[1]
IN_CODE = re.compile(r"(?:`|^ *|[:;] |\b[Rr]un |&& )vibe ((?:[^\s`;,()]+)(?: +[^\s`;,()]+)*)", re.MULTILINE)
IN_PAGES = re.compile(r"`vibe ([^`\n]+)`|^\$? ?vibe ([a-z][^\n#]*)", re.MULTILINE)


@dataclass(frozen=True)
class Mention:
    """Where a command is named, and how."""

    where: str
    words: tuple[str, ...]
    prose: bool  # a docstring or a page may speak of a group of commands as such


def strings(file: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, text and whether it is a docstring, of every string; what is filled in at run time reads X."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documented = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    prose = {id(node.body[0].value) for node in documented if node.body and isinstance(node.body[0], ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values), False
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value, id(node) in prose


def mentions() -> Iterator[Mention]:
    for file in sorted((REPOSITORY / "vibe_assets").rglob("*.py")):
        for line, text, prose in strings(file):
            for found in IN_CODE.finditer(text):
                yield Mention(f"{file.relative_to(REPOSITORY)}:{line}", tuple(found[1].split()), prose)
    for file in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))):
        if file.name == "log.md":
            continue  # tells of what was
        text = file.read_text(encoding="utf-8")
        for found in IN_PAGES.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield Mention(f"{file.relative_to(REPOSITORY)}:{line}", tuple((found[1] or found[2]).split()), True)


def fault(mention: Mention) -> str:
    """What is wrong with it; empty where it can be typed."""
    command: click.Command = main
    words = list(mention.words)
    path = ["vibe"]
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0].rstrip(".:")):
        word = words[0].rstrip(".:")
        if word not in command.commands:
            break
        command, words = command.commands[word], words[1:]
        path.append(word)
    if command is main:
        return "" if mention.words[0].startswith("-") or mention.words[0] in ("X", "...") else f"there is no `vibe {mention.words[0]}`"
    if isinstance(command, click.Group) and path[-1] != "triage":  # `vibe triage FOLDER` is a command
        if words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
            return f"`{' '.join(path)}` has no command {words[0]}"
        if not words and not mention.prose:
            return f"`{' '.join(path)}` alone does nothing: name one of its commands"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help", "-h"}
    options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    if command.context_settings.get("ignore_unknown_options"):
        return ""
    return f"`{' '.join(path)}` knows no {', '.join(sorted(options - known))}" if options - known else ""


EVERY = list(mentions())


def test_messages_and_pages_name_commands_at_all() -> None:
    assert len([one for one in EVERY if not one.prose]) > 80
    assert len([one for one in EVERY if one.where.startswith(("README", "docs"))]) > 40


def test_every_command_that_is_named_exists() -> None:
    faults = {f"{one.where}: vibe {' '.join(one.words)}": why for one in EVERY if (why := fault(one))}
    assert faults == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nosuch", "no `vibe nosuch`"), ("heads", "alone does nothing"), ("heads undo", "has no command undo"),
        ("report --browser", "knows no --browser"), ("triage ~/Pictures", ""), ("eval --anything", ""),
        ("run annotations --folder KEY", ""),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_typed_is_found_out(text: str, why: str) -> None:
    said = fault(Mention("here", tuple(text.split()), prose=False))
    assert why in said
    assert bool(why) == bool(said)


def test_whoever_is_told_to_make_an_asset_is_told_the_command() -> None:
    """A message that says "materialise it" leaves people without Dagster at a dead end."""
    silent = []
    for file in sorted((REPOSITORY / "vibe_assets").rglob("*.py")):
        for line, text, prose in strings(file):
            if not prose and re.search(r"\bmaterialise\b|`?make ui`?", text) and "vibe " not in text:
                silent.append(f"{file.relative_to(REPOSITORY)}:{line}: {text}")
    assert silent == []
