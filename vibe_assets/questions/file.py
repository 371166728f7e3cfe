"""A YAML file becomes checked `Questions`: what photos are asked, which words mean which label, and what implies what."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import yaml

from vibe_assets.errors import UserError
from vibe_assets.questions.questions import Questions
from vibe_assets.questions.rules import All, Condition, Exclusive, General, Is, Not, Rule, When
from vibe_assets.questions.types import TYPES, UNKNOWN, Field, Label, ManyOf, OneOf, Question, Rating, YesNo, implied
from vibe_assets.questions.words import normalise

TOP_LEVEL = ("version", "languages", "questions", "rules")
COMMON = ("type", "name", "ask", "labels", "prefix", "head", "abstain", "templates", "asked", "trained", "example", "not_in")
OWN: dict[str, tuple[str, ...]] = {"one_of": ("unexpected", "listed"), "yes_no": (), "many_of": ("offered",), "rating": ("scale",)}
LABEL = ("name", "hint", "aliases", "prompts", "negatives", "offers", "hotkey")
ABSTAIN = ("unknown", "unclear", "uncertain", "unsure", "not sure", "n/a", "none", "null")
TEMPLATES = {
    "one_of": ("a photo of {name}",),
    "yes_no": ("a photo with {name}",),
    "many_of": ("a photo of a {name}",),
    "rating": ("a photo worth {name} points",),
}
RESERVED = frozenset({  # columns that tables have beside the questions'
    "image_id", "folder_key", "rel_path", "path_bytes", "annotator", "inclusion_probability", "teacher", "mapping", "source", "heads",
    "encoder", "abstained", "overruled", "stratum", "group_id", "group_size", "draw", "at", "seed", "act", "blind", "spent_ms",
    "reason", "margins", "unasked", "provenance", "labels", "split", "link", "format", "width", "height", "bytes", "mtime_ns", "frames",
    "orientation", "taken_at", "offset_min", "latitude", "longitude", "camera", "phash", "file_name", "path_uri", "detail",
    "stored_share", "tries", "tried_at", "measured_by", "embedding", "annotation", "model", "questions",
})  # fmt: skip
MAX_LABELS = 20_000
MAX_VALUES, MAX_DEPTH = 500_000, 20
MAX_KEY, MAX_NAME = 60, 200  # letters; keys are names of columns and of folders
TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # turn the direction of what stands behind them
RULE_FORMS = (
    "write `{label: blurred, follows: {scene: [other]}}`, `{when: {scene: people}, then: {smiling: true}}` or `{exclusive: [day, night]}`"
)
EARLIER = {"scenes": "scene", "attributes": "attributes", "objects": "objects"}  # sections of files of before, and the packaged question


class LabelFileError(UserError, ValueError):
    """A label file is wrong; the message names the file, the line, the key and the remedy."""


def load(path: Path | None = None) -> Questions:
    """The packaged questions, or those of the file at `path`. Raises LabelFileError."""
    name = str(path) if path else "packaged labels"
    try:
        text = path.read_text(encoding="utf-8-sig") if path else packaged()
        return _read(name, text)
    except OSError as error:
        raise LabelFileError(f"{name}: {error.strerror}; correct [labels] taxonomy, or leave it out for the packaged one") from error
    except UnicodeDecodeError as error:
        raise LabelFileError(f"{name}: not UTF-8 ({error.reason} at byte {error.start:,}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        remedy = "indent with spaces" if "\\t" in said else "correct the line, or quote the text"
        raise LabelFileError(f"{name}{line}: not valid YAML: {said}; {remedy}") from error


def packaged() -> str:
    """Text of the packaged file."""
    return files(__package__).joinpath("labels.yaml").read_text(encoding="utf-8")


def packs() -> dict[str, str]:
    """Name of a packaged starter file -> its text: other jobs than the default."""
    folder = files(__package__).joinpath("packs")
    found = {item.name.removesuffix(".yaml"): item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".yaml")}
    return dict(sorted(found.items()))


@lru_cache(maxsize=8)
def _read(name: str, text: str) -> Questions:
    """A file of the same words is read once: parsing takes a third of a second of a busy machine, and every stage asks."""
    lines: dict[tuple[str, ...], int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise LabelFileError(f"{name}: values within values without end; write labels as `key: {{}}`") from None
    values = None if node is None else _plain(node, (), lines, name)
    return _Reader(name, lines).read(values)


def _plain(node: yaml.Node, place: tuple[str, ...], lines: dict[tuple[str, ...], int], file: str) -> Any:
    """The node's value; `lines` learns where each key stands. A key given twice is refused: YAML would silently keep the last."""
    lines.setdefault(place, node.start_mark.line + 1)
    if len(place) > MAX_DEPTH or len(lines) > MAX_VALUES:  # an anchor may stand for itself, or for ten that stand for ten
        too_much = f"values within values, more than {MAX_DEPTH} deep" if len(place) > MAX_DEPTH else f"more than {MAX_VALUES:,} values"
        raise LabelFileError(f"{file}, line {node.start_mark.line + 1}: {too_much}; write it without anchors")
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise LabelFileError(f"{file}, line {line}: `<<` is not read here; write the entries out")
            key = _scalar(key_node)
            below = (*place, str(key))
            if key in found:
                raise LabelFileError(f"{file}, line {line}: the key {str(key)!r} is given twice in one place; merge the two")
            lines[below] = line
            found[key] = _plain(value_node, below, lines, file)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*place, str(at)), lines, file) for at, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    if node.tag == "tag:yaml.org,2002:str":
        return node.value
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node, deep=True)
        hash(value)
    except TypeError:
        return str(value)
    finally:
        loader.dispose()
    return value


def is_key(text: str) -> bool:
    """Letters and digits of any script, with the marks that scripts put on them, joined by '_'; a letter comes first."""

    def fits(char: str) -> bool:
        return char.isalnum() or unicodedata.category(char) in ("Mn", "Mc")

    return len(text) <= MAX_KEY and text[:1].isalpha() and all(part and all(map(fits, part)) for part in text.split("_"))


def _beside(field: Field) -> tuple[str, ...]:
    """Columns that some table has for a column of labels."""
    return f"{field.name}_source", f"{field.name}_version", *(() if field.dtype == "bool" else (f"teacher_{field.name}",))


class _Reader:
    """Checks the values piece by piece; every complaint names file, line, key and remedy."""

    def __init__(self, file: str, lines: Mapping[tuple[str, ...], int]) -> None:
        self.file, self.lines = file, lines

    def read(self, values: Any) -> Questions:
        if not isinstance(values, dict):
            self.fail((), f"expected a mapping with {', '.join(TOP_LEVEL)}, got {_shown(values)}", "see `vibe labels show`")
        if "questions" not in values and values.keys() & EARLIER.keys():
            return self.earlier(values)
        self.known((), values, TOP_LEVEL, "section")
        version = self.version(values)
        languages = self.texts(("languages",), values.get("languages", ["en"]))
        if not languages:
            self.fail(("languages",), "an empty list", "write `languages: [en]`")
        asked = values.get("questions")
        if not isinstance(asked, dict) or not asked:
            self.fail(("questions",), f"expected a mapping of questions, got {_shown(asked)}", "write `KEY: {type: one_of, labels: {...}}`")
        questions = [self.question(key, entry, languages) for key, entry in asked.items()]
        return self.checked(version, tuple(languages), questions, values.get("rules"))

    def checked(self, version: int, languages: tuple[str, ...], questions: list[Question], rules: Any) -> Questions:
        owner: dict[str, str] = {}
        for question in questions:
            columns = [name for field in question.fields for name in (field.name, field.confidence, *_beside(field))]
            for column in columns:
                if column.casefold() in RESERVED:
                    self.fail(("questions", question.key), f"{column!r} is a column that tables have already", "choose another key")
                if (other := owner.setdefault(column.casefold(), question.key)) != question.key:
                    self.fail(("questions", question.key), f"the column {column!r} belongs to {other} already", "choose another key")
        strokes: dict[str, str] = {}
        for label in (label for question in questions for label in question.labels if label.hotkey):
            if (other := strokes.setdefault(label.hotkey.lower(), label.key)) != label.key:
                self.fail(
                    ("questions", *self.place_of(label, questions), "hotkey"), f"{label.hotkey!r} is that of {other}", "choose another"
                )
        for what in ("prefix", "head"):
            taken: dict[str, str] = {}
            for question in questions:
                if (other := taken.setdefault(getattr(question, what), question.key)) != question.key:
                    self.fail(("questions", question.key, what), f"{getattr(question, what)!r} is that of {other}", "choose another")
        found = Questions(version, tuple(questions), languages, (), self.file)
        return found.ruled(self.rules(rules, found))

    @staticmethod
    def place_of(label: Label, questions: list[Question]) -> tuple[str, ...]:
        """Where a label stands below `questions`."""
        return next((question.key, "labels", label.word) for question in questions if label in question.labels)

    def version(self, values: Mapping[Any, Any]) -> int:
        version = values.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            self.fail(
                ("version",), f"expected a whole number from 1, got {_shown(version)}", "write `version: 1` and raise it with every change"
            )
        return version

    # -- a question ----------------------------------------------------------------------------------------------------
    def question(self, key: Any, entry: Any, languages: tuple[str, ...]) -> Question:
        place = ("questions", str(key))
        if not isinstance(key, str) or not is_key(key):
            self.fail(
                place, "not a key", f"use letters and digits of any script, joined by '_', at most {MAX_KEY} (quote yes, no, on, off)"
            )
        if not isinstance(entry, dict):
            self.fail(place, f"expected a mapping, got {_shown(entry)}", "write `{type: one_of, labels: {...}}`")
        kind = entry.get("type")
        if kind not in TYPES:
            self.fail((*place, "type"), f"expected one of {', '.join(TYPES)}, got {_shown(kind)}", "write `type: one_of`")
        self.known(place, entry, (*COMMON, *OWN[kind]), "field")
        prefix = self.word((*place, "prefix"), entry.get("prefix", key))
        head = self.word((*place, "head"), entry.get("head", key))
        asked = entry.get("asked", "teacher")
        if asked not in ("teacher", "people"):
            self.fail((*place, "asked"), f"expected teacher or people, got {_shown(asked)}", "leave it out to ask the teacher")
        trained = entry.get("trained", True)
        if not isinstance(trained, bool):
            self.fail((*place, "trained"), f"expected true or false, got {_shown(trained)}", "leave it out to train a student")
        templates = self.texts((*place, "templates"), entry.get("templates", list(TEMPLATES[kind])))
        if nameless := [text for text in templates if "{name}" not in text]:
            self.fail((*place, "templates"), f"{nameless[0]!r} has no {{name}}", "write {name} where the label's name belongs")
        labels = self.labels(
            place, kind, prefix, self.steps(place, entry) if kind == "rating" else entry.get("labels"), templates, languages
        )
        abstain = self.abstentions(place, kind, entry, labels)
        common: dict[str, Any] = {
            "key": key, "labels": labels, "prefix": prefix, "head": head, "asked": asked, "trained": trained, "abstain": abstain,
            "ask": self.by_language((*place, "ask"), entry.get("ask"), languages),
            "names": self.names((*place, "name"), entry.get("name"), languages),
            "example": entry.get("example"), "not_in": self.folders((*place, "not_in"), entry.get("not_in", [])),
        }  # fmt: skip
        self.example(place, kind, entry.get("example"), labels)
        if kind == "rating":
            return Rating(**common)
        if kind == "one_of":
            unexpected = entry.get("unexpected")
            if unexpected is not None and f"{prefix}.{unexpected}" not in {label.key for label in labels}:
                self.fail(
                    (*place, "unexpected"), f"{unexpected!r} is none of its labels", "name one, or leave it out to keep such photos open"
                )
            if len(labels) < 2:
                self.fail((*place, "labels"), f"one_of needs two labels at least, got {len(labels)}", "add one, or use type yes_no")
            if not isinstance(listed := entry.get("listed", False), bool):
                self.fail((*place, "listed"), f"expected true or false, got {_shown(listed)}", "leave it out")
            return OneOf(**common, unexpected=None if unexpected is None else f"{prefix}.{unexpected}", listed=listed)
        if kind == "many_of":
            return ManyOf(**common, offered=self.texts((*place, "offered"), entry.get("offered", [])))
        return YesNo(**common)

    def abstentions(self, place: tuple[str, ...], kind: str, entry: Mapping[Any, Any], labels: Iterable[Label]) -> tuple[str, ...]:
        """Words that mean "I do not know": none of them may be a label's; of the usual ones those that are labels are left out."""
        own = {normalise(word): label for label in labels for word in (*label.words, *label.offers)}
        if kind == "one_of" and (label := own.get(UNKNOWN)):
            self.fail((*place, "labels", label.word), f"{UNKNOWN!r} always means that nobody can tell", "give the label another key")
        if "abstain" not in entry:
            return tuple(word for word in ABSTAIN if kind != "one_of" or normalise(word) not in own)
        words = self.texts((*place, "abstain"), entry["abstain"])
        if kind == "one_of" and (both := next((word for word in words if normalise(word) in own), None)):
            self.fail((*place, "abstain"), f"{both!r} is a word of {own[normalise(both)].key}, too", "keep it in one of the two")
        return words

    def example(self, place: tuple[str, ...], kind: str, given: Any, labels: tuple[Label, ...]) -> None:
        """The answer that the prompt shows must be one."""
        words = [word for label in labels for word in (label.word, *label.offers)]
        if kind == "yes_no":
            fits = isinstance(given, dict) and all(key in words and value in (True, False, UNKNOWN) for key, value in given.items())
        elif kind == "many_of":
            fits = isinstance(given, list) and all(isinstance(one, dict) and isinstance(one.get("coarse_type"), str) for one in given)
        elif kind == "rating":
            fits = given == UNKNOWN or (type(given) is int and str(given) in words)
        else:
            fits = isinstance(given, str) and given in (*words, UNKNOWN)
        if given is not None and not fits:
            self.fail((*place, "example"), f"no answer to a question of type {kind}: {_shown(given)}", "leave it out, or give an answer")

    def folders(self, place: tuple[str, ...], values: Any) -> tuple[str, ...]:
        found = self.texts(place, values)
        if empty := next((folder for folder in found if not folder.strip("/") or ".." in folder.split("/")), None):
            self.fail(
                place,
                f"{empty!r} names no folder below the photo root",
                "write '**' for all folders and '.' for the photos in the root itself",
            )
        return found

    def steps(self, place: tuple[str, ...], entry: Mapping[Any, Any]) -> dict[str, Any]:
        """The labels of a scale: one a number; `labels` may say more of some of them."""
        scale = entry.get("scale", [1, 5])
        if (
            not isinstance(scale, list)
            or len(scale) != 2
            or not all(type(end) is int for end in scale)
            or not 0 <= scale[0] < scale[1] <= 100
        ):
            self.fail((*place, "scale"), f"expected two whole numbers of 0 to 100, the lower first, got {_shown(scale)}", "write [1, 5]")
        steps: dict[str, Any] = {str(step): {} for step in range(scale[0], scale[1] + 1)}
        said = entry.get("labels") or {}
        if not isinstance(said, dict) or (stray := [str(key) for key in said if str(key) not in steps]):
            wrong = _shown(said) if not isinstance(said, dict) else f"{stray[0]!r} is not on the scale"
            self.fail((*place, "labels"), wrong, f"use numbers from {scale[0]} to {scale[1]}, or leave `labels` out")
        return steps | {str(key): value for key, value in said.items()}

    def labels(
        self, place: tuple[str, ...], kind: str, prefix: str, values: Any, templates: tuple[str, ...], languages: tuple[str, ...]
    ) -> tuple[Label, ...]:
        place = (*place, "labels")
        if isinstance(values, list):
            if odd := next((value for value in values if isinstance(value, list | dict)), None):
                self.fail(
                    place, f"expected a list of keys, got {_shown(odd)} in it", "write a mapping where labels say more: `key: {hint: ...}`"
                )
            if twice := next((value for at, value in enumerate(values) if value in values[:at]), None):
                self.fail(place, f"the label {twice!r} is given twice", "take one out")
            values = {value: {} for value in values}
        if not isinstance(values, dict) or not values:
            self.fail(place, f"expected a mapping of labels, got {_shown(values)}", "list every label as `key: {aliases: [...]}`")
        if len(values) > MAX_LABELS:
            self.fail(place, f"{len(values):,} labels, at most {MAX_LABELS:,} are read", "split the question")
        labels = tuple(self.label(place, kind, prefix, key, entry, templates, languages) for key, entry in values.items())
        keys, owner, named = {label.key for label in labels}, dict[str, str](), dict[tuple[str, str], str]()
        for label in labels:
            at = (*place, label.word)
            if orphaned := next((parent for parent in implied(label.key) if parent not in keys), None):
                self.fail(at, f"its parent {orphaned} is not in the file", f"add `{orphaned.partition('.')[2]}: {{}}` before it")
            for word in dict.fromkeys(map(normalise, (*label.words, *label.offers))):
                if (other := owner.setdefault(word, label.key)) != label.key:
                    self.fail(at, f"the word {word!r} belongs to {other} already", "keep it in one of the two")
            for language, name in label.names.items():
                if (other := named.setdefault((language, normalise(name)), label.key)) != label.key:
                    self.fail((*at, "name"), f"{name!r} ({language}) is the name of {other} already", "give one of the two another name")
        return labels

    def label(
        self, place: tuple[str, ...], kind: str, prefix: str, key: Any, entry: Any, templates: tuple[str, ...], languages: tuple[str, ...]
    ) -> Label:
        at = (*place, str(key))
        parts = key.split(".") if isinstance(key, str) and kind == "many_of" else [key]
        if not isinstance(key, str) or not (kind == "rating" or all(map(is_key, parts))) or key != key.lower():
            shape = f"lowercase letters, digits and '_', at most {MAX_KEY}" + (", parts separated by '.'" if kind == "many_of" else "")
            self.fail(
                at,
                "not a key",
                f"use {shape}; the name that people read is `name:` (quote yes, no, on, off and null; a letter comes first)",
            )
        entry = {} if entry is None else entry
        if not isinstance(entry, dict):
            self.fail(at, f"expected a mapping, got {_shown(entry)}", "write `{aliases: [word, ...]}`, or {} for none")
        self.known(at, entry, LABEL, "field")
        plain = key.rpartition(".")[2].replace("_", " ")
        prompts = self.texts((*at, "prompts"), entry.get("prompts", [_filled(template, plain) for template in templates]))
        if not prompts:
            self.fail((*at, "prompts"), "an empty list", "give at least one text, or leave `prompts` out for the template")
        offers = entry.get("offers", {})
        if not isinstance(offers, dict) or not all(isinstance(word, str) and isinstance(hint, str) for word, hint in offers.items()):
            self.fail((*at, "offers"), f"expected words with a hint each, got {_shown(offers)}", "write `{selfie: people who ...}`")
        names = self.names((*at, "name"), entry.get("name"), languages)
        hotkey = entry.get("hotkey", "")
        if not isinstance(hotkey, str) or len(hotkey) > 2:
            self.fail((*at, "hotkey"), f"expected one or two letters or digits, got {_shown(hotkey)}", "quote it, or leave it out")
        words = (plain, *self.texts((*at, "aliases"), entry.get("aliases", [])), *offers)
        return Label(
            f"{prefix}.{key}", tuple(dict.fromkeys(words)), prompts, self.texts((*at, "negatives"), entry.get("negatives", [])), names,
            self.by_language((*at, "hint"), entry.get("hint"), languages), offers, hotkey,
        )  # fmt: skip

    # -- rules ---------------------------------------------------------------------------------------------------------
    def rules(self, values: Any, questions: Questions) -> tuple[Rule | General, ...]:
        if values is None:
            return ()
        if not isinstance(values, list):
            self.fail(("rules",), f"expected a list, got {_shown(values)}", RULE_FORMS)
        found: list[Rule | General] = []
        for at, value in enumerate(values):
            place, rule = ("rules", str(at)), self.rule(("rules", str(at)), value, questions)
            self.in_order(place, rule, found)
            for column in rule.decides:
                others = [earlier for earlier in found if column in earlier.decides]
                if any(isinstance(rule, Rule) or isinstance(earlier, Rule) for earlier in others):
                    self.fail(place, f"{column} follows from another question by a rule above or below", "keep one of the two rules")
            found.append(rule)
        return tuple(found)

    def in_order(self, place: tuple[str, ...], rule: Rule | General, above: Iterable[Rule | General]) -> None:
        """Rules are applied once, from the first to the last: none may decide what it or one above goes by."""
        for earlier in (*above, *([rule] if isinstance(rule, When) else [])):
            both_exclude = isinstance(rule, Exclusive) and isinstance(earlier, Exclusive)
            if not both_exclude and (late := [column for column in rule.decides if column in earlier.reads]):
                which = "which it goes by itself" if earlier is rule else "which a rule above goes by"
                self.fail(place, f"decides {late[0]}, {which}", "rules are applied in their order, once: move it up, or reword it")

    def rule(self, place: tuple[str, ...], value: Any, questions: Questions) -> Rule | General:
        keys = frozenset(value) if isinstance(value, dict) else frozenset()
        if keys == {"label", "follows"} and isinstance(value["follows"], dict):
            return self.following(place, value, questions)
        if keys == {"when", "then"} and isinstance(value["then"], dict) and value["then"]:
            condition = self.condition((*place, "when"), value["when"], questions)
            then = tuple(self.outcome((*place, "then", str(name)), name, wanted, questions) for name, wanted in value["then"].items())
            return When(condition, then)
        if keys == {"exclusive"} and isinstance(value["exclusive"], list) and len(value["exclusive"]) > 1:
            names = [self.yes_no((*place, "exclusive", str(at)), name, questions) for at, name in enumerate(value["exclusive"])]
            if len(set(names)) < len(names):
                self.fail((*place, "exclusive"), "a label is named twice", "take one out")
            return Exclusive(tuple(names))
        self.fail(place, f"not a rule: {_shown(value)}", RULE_FORMS)

    def following(self, place: tuple[str, ...], value: Mapping[str, Any], questions: Questions) -> Rule:
        column, follows = self.yes_no((*place, "label"), value["label"], questions), value["follows"]
        if len(follows) != 1 or not isinstance(one := questions.get(next(iter(follows))), OneOf):
            self.fail((*place, "follows"), f"expected one question of type one_of, got {_shown(follows)}", "write `{scene: document}`")
        return Rule(column, one.key, self.label_keys((*place, "follows"), one, next(iter(follows.values()))))

    def condition(self, place: tuple[str, ...], value: Any, questions: Questions) -> Condition:
        """A mapping of which everything must hold."""
        if not isinstance(value, dict) or not value:
            self.fail(
                place, f"expected a condition, got {_shown(value)}", "write `{QUESTION: label}`, also with not:, all: [...], any: [...]"
            )
        parts: list[Condition] = []
        for name, wanted in value.items():
            at = (*place, str(name))
            if name == "not":
                parts.append(Not(self.condition(at, wanted, questions)))
            elif name in ("all", "any"):
                if not isinstance(wanted, list) or not wanted:
                    self.fail(at, f"expected a list of conditions, got {_shown(wanted)}", f"write `{name}: [{{...}}, {{...}}]`")
                inner = tuple(self.condition((*at, str(each)), one, questions) for each, one in enumerate(wanted))
                parts.append(All(inner, every=name == "all"))
            else:
                parts.append(self.compared(at, name, wanted, questions))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def compared(self, place: tuple[str, ...], name: Any, wanted: Any, questions: Questions) -> Is:
        column = self.column(place, name, questions)
        if isinstance(question := questions.owner[column], YesNo):
            if not isinstance(wanted, bool):
                self.fail(place, f"expected true or false, got {_shown(wanted)}", "write true or false")
            return Is(column, (wanted,))
        return Is(column, self.label_keys(place, question, wanted))

    def outcome(self, place: tuple[str, ...], name: Any, wanted: Any, questions: Questions) -> tuple[str, Any]:
        """Column and value; a tuple of keys is added to a list."""
        column = self.column(place, name, questions)
        question = questions.owner[column]
        if wanted == "unknown" and not isinstance(question, ManyOf):
            return column, None
        if isinstance(question, YesNo):
            if not isinstance(wanted, bool):
                self.fail(place, f"expected true, false or unknown, got {_shown(wanted)}", "write one of them")
            return column, wanted
        keys = self.label_keys(place, question, wanted)
        if isinstance(question, ManyOf):
            return column, keys
        if len(keys) > 1:
            self.fail(place, f"one label, got {len(keys)}", "name one")
        return column, keys[0]

    def column(self, place: tuple[str, ...], name: Any, questions: Questions) -> str:
        """The name of a column of labels."""
        if not isinstance(name, str) or name not in questions.owner:
            self.fail(place, f"{name!r} is no question and no label of a yes_no question", f"use one of {_few(questions.columns)}")
        return name

    def yes_no(self, place: tuple[str, ...], name: Any, questions: Questions) -> str:
        if not isinstance(name, str) or not isinstance(questions.owner.get(name), YesNo):
            self.fail(place, f"{name!r} is no label of a yes_no question", "name one")
        return name

    def label_keys(self, place: tuple[str, ...], question: Question, wanted: Any) -> tuple[str, ...]:
        """The keys of one label or a list of them."""
        keys = tuple(f"{question.prefix}.{word}" for word in (wanted if isinstance(wanted, list) else [wanted]))
        if wrong := [key for key in keys if key not in question.keys]:
            self.fail(place, f"{wrong[0]!r} is no label of {question.key}", f"use one of {_few(question.keys)}")
        if not keys:
            self.fail(place, "an empty list", "name a label")
        return keys

    # -- a file of before ----------------------------------------------------------------------------------------------
    def earlier(self, values: Mapping[Any, Any]) -> Questions:
        """A file with scenes, attributes and objects: the packaged questions with these labels, asked of the teacher as packaged."""
        self.known((), values, ("version", "templates", "abstain", *EARLIER), "section")
        packaged, templates = load(), values.get("templates")
        templates = {} if templates is None else templates
        if not isinstance(templates, dict) or (stray := set(templates) - EARLIER.keys()):
            wrong = _shown(templates) if not isinstance(templates, dict) else f"the keys {sorted(map(str, stray))}"
            self.fail(("templates",), f"expected lists of texts for {', '.join(EARLIER)}, got {wrong}", "see `vibe labels show`")
        abstain = self.texts(("abstain",), values.get("abstain", ["unknown"]))
        moved = {("questions", EARLIER[at[0]], "labels", *at[1:]): line for at, line in self.lines.items() if at and at[0] in EARLIER}
        self.lines = {**self.lines, **moved}  # its sections stand elsewhere in a file of today
        questions: list[Question] = []
        for section, key in EARLIER.items():
            model = packaged[key]
            if not isinstance(values.get(section), dict):
                self.fail((section,), f"expected a mapping of keys, got {_shown(values.get(section))}", "list every label as `key: {}`")
            entry: dict[str, Any] = {
                "type": model.type, "prefix": model.prefix, "head": model.head, "ask": dict(model.ask), "labels": values[section],
                "abstain": list(abstain), "templates": templates.get(section, ["a photo of a {name}"]),
            }  # fmt: skip
            if isinstance(model, OneOf):
                entry |= {"unexpected": model.unexpected and model.unexpected.partition(".")[2], "listed": model.listed}
            if isinstance(model, ManyOf):
                entry["offered"] = list(model.offered)
            questions.append(self.question(key, entry, packaged.languages))
        rules = tuple(rule for rule in packaged.follows.values() if any(rule.column == label.word for label in questions[1].labels))
        return replace(self.checked(self.version(values), packaged.languages, questions, None), rules=rules, asked_as=packaged)

    # -- values --------------------------------------------------------------------------------------------------------
    def known(self, place: tuple[str, ...], values: Mapping[Any, Any], names: Iterable[str], what: str) -> None:
        names = tuple(names)
        if stray := [str(key) for key in values if key not in names]:
            self.fail((*place, stray[0]), f"no such {what}", f"use one of {', '.join(names)}")

    def word(self, place: tuple[str, ...], value: Any) -> str:
        if not isinstance(value, str) or not is_key(value):
            self.fail(place, f"expected letters and digits joined by '_', got {_shown(value)}", "leave it out for the question's key")
        return value

    def names(self, place: tuple[str, ...], value: Any, languages: tuple[str, ...]) -> dict[str, str]:
        """What people read, by language."""
        names = self.by_language(place, value, languages)
        if long := next((name for name in names.values() if len(name) > MAX_NAME), None):
            self.fail(place, f"a name of {len(long):,} letters, at most {MAX_NAME}", "shorten it")
        return names

    def by_language(self, place: tuple[str, ...], value: Any, languages: tuple[str, ...]) -> dict[str, str]:
        """Language -> text; a plain text is of the first language."""
        if value is None:
            return {}
        texts = {languages[0]: value} if isinstance(value, str) else value
        if not isinstance(texts, dict) or not all(isinstance(text, str) and text.strip() for text in texts.values()):
            self.fail(place, f"expected a text, or one for each language, got {_shown(value)}", f"write `{{{languages[0]}: ...}}`")
        if stray := [str(language) for language in texts if language not in languages]:
            self.fail((*place, stray[0]), "a language that the file does not have", f"add it to `languages: [{', '.join(languages)}]`")
        self.printable(place, texts.values())
        return {str(language): " ".join(text.split()) for language, text in texts.items()}

    def printable(self, place: tuple[str, ...], texts: Iterable[str]) -> None:
        """No control characters: files of other programs cannot hold them, and some turn the text of a whole line."""
        for text in texts:
            if odd := next(
                (char for char in text if char in TURNS or (unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\r\n")), None
            ):
                self.fail(place, f"the control character U+{ord(odd):04X} in {text!r:.60}", "take it out")

    def texts(self, place: tuple[str, ...], values: Any) -> tuple[str, ...]:
        if not isinstance(values, list | tuple):
            self.fail(
                place, f"expected a list of texts, got {_shown(values)}", f"write [{values}]" if isinstance(values, str) else "write [...]"
            )
        for value in values:
            if not isinstance(value, str) or not normalise(value):
                self.fail(place, f"expected texts, got {_shown(value)}", "quote it" if value is not None else "quote it, or take it out")
        self.printable(place, values)
        return tuple(values)

    def fail(self, place: tuple[str, ...], wrong: str, remedy: str) -> NoReturn:
        line = next((self.lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in self.lines), None)
        where = self.file if line is None else f"{self.file}, line {line}"
        shown = ".".join(part for part in place if part not in ("questions", "labels"))
        raise LabelFileError(": ".join(part for part in (where, shown, f"{wrong}; {remedy}") if part))


def _filled(template: str, name: str) -> str:
    article = template.replace("a {name}", "an {name}") if name[0] in "aeiou" else template
    return article.replace("{name}", name)


def _few(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:20])


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.60}"
