"""A YAML file of labels becomes a checked `Taxonomy`: which keys exist, which words mean them, and what implies what."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import yaml

from vibe_assets.errors import UserError
from vibe_assets.records import ATTRIBUTES, fingerprint

KEY_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)*")
OTHER_SCENE = "scene.other"
PREFIXES = {"scenes": "scene.", "attributes": "attr.", "objects": "object."}
FIELDS = {"scenes": {"aliases", "prompts"}, "attributes": {"aliases", "prompts", "negatives"}, "objects": {"aliases", "prompts"}}
TOP_LEVEL = {"version", "templates", "abstain", *PREFIXES}


class TaxonomyError(UserError, ValueError):
    """A taxonomy file is wrong; the message names the file, the key and the remedy."""


@dataclass(frozen=True)
class Label:
    """One label. `words` are its aliases and the last part of its key; `prompts` and `negatives` are texts for zero-shot."""

    key: str
    words: tuple[str, ...]
    prompts: tuple[str, ...]
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taxonomy:
    """Which labels exist, in the order of the file. Class lists of heads come from here, never from data."""

    version: int
    labels: Mapping[str, Label]
    abstain: tuple[str, ...]
    file: str

    @classmethod
    def load(cls, path: Path | None = None) -> Taxonomy:
        """Read the packaged taxonomy, or the file at `path`. Raises TaxonomyError."""
        name = str(path) if path else "packaged taxonomy"
        try:
            text = (
                path.read_text(encoding="utf-8-sig") if path else files(__package__).joinpath("taxonomy.yaml").read_text(encoding="utf-8")
            )
            return _read(name, text)
        except OSError as error:
            raise TaxonomyError(f"{name}: {error.strerror}; correct [labels] taxonomy, or leave it out for the packaged one") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise TaxonomyError(f"{name}: not valid YAML: {error}") from error

    @cached_property
    def scenes(self) -> tuple[str, ...]:
        return self._section("scene.")

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        return self._section("attr.")

    @cached_property
    def objects(self) -> tuple[str, ...]:
        return self._section("object.")

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over everything that changes a label or a prompt."""
        labels = [[label.key, sorted(label.words), label.prompts, label.negatives] for label in self.labels.values()]
        return fingerprint({"version": self.version, "labels": labels, "abstain": sorted(self.abstain)})

    def known(self, key: str) -> bool:
        return key in self.labels

    def scene_of(self, text: object) -> str | None:
        """The scene a teacher's word means; an unexpected word is scene.other, no word and a refusal to say are None."""
        if not isinstance(text, str):
            return None
        word = normalise(text)
        if not word or word in self._abstain:
            return None
        return self._scene_words.get(word, OTHER_SCENE)

    def object_of(self, text: object) -> str | None:
        """The object a teacher's word means, or None where the taxonomy has none (many words, one key)."""
        return self._object_words.get(normalise(text)) if isinstance(text, str) else None

    def parents(self, key: str) -> tuple[str, ...]:
        """What the key implies, nearest first: object.food.dessert.cake -> object.food.dessert, object.food."""
        if key not in self.labels:
            raise ValueError(f"expected a key of the taxonomy, got {key!r}")
        return tuple(_parents(key))

    def closure(self, keys: Iterable[str]) -> tuple[str, ...]:
        """The keys and all they imply, in order of first mention, each once."""
        return tuple(dict.fromkeys(implied for key in keys for implied in (key, *self.parents(key))))

    def prompts(self) -> dict[str, list[str]]:
        """Label -> texts for zero-shot classification, for every label."""
        return {key: list(label.prompts) for key, label in self.labels.items()}

    def negative_prompts(self) -> dict[str, list[str]]:
        """Attribute -> texts of its opposite: a softmax over text and opposite is a probability, a lone cosine is not."""
        return {key: list(label.negatives) for key, label in self.labels.items() if label.negatives}

    def _section(self, prefix: str) -> tuple[str, ...]:
        return tuple(key for key in self.labels if key.startswith(prefix))

    @cached_property
    def _scene_words(self) -> dict[str, str]:
        return _index(self.labels[key] for key in self.scenes)

    @cached_property
    def _object_words(self) -> dict[str, str]:
        return _index(self.labels[key] for key in self.objects)

    @cached_property
    def _abstain(self) -> frozenset[str]:
        return frozenset(map(normalise, self.abstain))


def normalise(text: str) -> str:
    """Lowercase words separated by single spaces; '_' and '-' count as spaces."""
    return " ".join(re.sub(r"[_\-\s]+", " ", unicodedata.normalize("NFKC", text).casefold()).split())


def _index(labels: Iterable[Label]) -> dict[str, str]:
    """Normalised word -> key. What a file spells out wins over singulars and plurals derived from it (glass, glasses)."""
    labels = list(labels)
    words = {normalise(word): label.key for label in labels for word in label.words}
    words |= {normalise(text): label.key for label in labels for text in (label.key, label.key.partition(".")[2])}
    for label in labels:
        for word in label.words:
            for variant in _numbers(normalise(word)):
                words.setdefault(variant, label.key)
    return words


def _numbers(word: str) -> Iterator[str]:
    """The plausible English singulars and plurals of a phrase: too many rather than too few, they only widen the index."""
    yield from (f"{word}s", f"{word}es")
    if word.endswith("y"):
        yield f"{word[:-1]}ies"
    if word.endswith("f"):
        yield f"{word[:-1]}ves"
    if word.endswith("fe"):
        yield f"{word[:-2]}ves"
    if word.endswith("ies") and len(word) > 4:
        yield f"{word[:-3]}y"
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        yield word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        yield word[:-1]


def _filled(template: str, name: str) -> str:
    article = template.replace("a {name}", "an {name}") if name[0] in "aeiou" else template
    return article.replace("{name}", name)


def _parents(key: str) -> Iterator[str]:
    while key.count(".") > 1:
        key = key.rpartition(".")[0]
        yield key


class _Reader:
    """Checks the parsed YAML piece by piece; every complaint names file, key and remedy."""

    def __init__(self, file: str) -> None:
        self.file = file

    def read(self, values: Any) -> Taxonomy:
        if not isinstance(values, dict):
            self.fail("", f"expected a mapping with {', '.join(sorted(TOP_LEVEL))}, got {_shown(values)}", "see the packaged taxonomy.yaml")
        if stray := [str(key) for key in values if key not in TOP_LEVEL]:
            self.fail(stray[0], "no such section", f"use one of {', '.join(sorted(TOP_LEVEL))}")
        version = values.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            self.fail(
                "version", f"expected a whole number from 1, got {_shown(version)}", "write `version: 1` and raise it with every change"
            )
        templates = self.templates(values.get("templates"))
        labels: dict[str, Label] = {}
        for section in PREFIXES:
            labels |= self.section(section, values.get(section), templates.get(section, ("a photo of a {name}",)))
        self.complete(labels)
        return Taxonomy(version, labels, self.texts("abstain", values.get("abstain", ["unknown"])), self.file)

    def templates(self, values: Any) -> dict[str, tuple[str, ...]]:
        if values is None:
            return {}
        if not isinstance(values, dict) or (stray := set(values) - PREFIXES.keys()):
            wrong = _shown(values) if not isinstance(values, dict) else f"the keys {sorted(map(str, stray))}"
            self.fail("templates", f"expected lists of texts for {', '.join(PREFIXES)}, got {wrong}", "see the packaged taxonomy.yaml")
        read = {section: self.texts(f"templates.{section}", texts) for section, texts in values.items()}
        for section, texts in read.items():
            if nameless := [text for text in texts if "{name}" not in text]:
                self.fail(f"templates.{section}", f"{nameless[0]!r} has no {{name}}", "write {name} where the label's name belongs")
        return read

    def section(self, section: str, values: Any, templates: tuple[str, ...]) -> dict[str, Label]:
        if not isinstance(values, dict) or not values:
            self.fail(section, f"expected a mapping of keys, got {_shown(values)}", "list every label as `key: {aliases: [...]}`")
        labels = [self.label(section, key, entry, templates) for key, entry in values.items()]
        keys = {label.key for label in labels}
        owner: dict[str, str] = {}
        for label in labels:
            if orphaned := next((parent for parent in _parents(label.key) if parent not in keys), None):
                self.fail(label.key, f"its parent {orphaned} is not in the file", f"add `{orphaned.partition('.')[2]}: {{}}` to {section}")
            for word in dict.fromkeys(map(normalise, label.words)):
                if (other := owner.setdefault(word, label.key)) != label.key:
                    self.fail(label.key, f"the word {word!r} belongs to {other} already", "keep it in one of the two")
        return {label.key: label for label in labels}

    def label(self, section: str, key: Any, entry: Any, templates: tuple[str, ...]) -> Label:
        if not isinstance(key, str) or not KEY_PATTERN.fullmatch(key) or (section != "objects" and "." in key):
            shape = "lowercase letters, digits and '_'" + (", parts separated by '.'" if section == "objects" else "")
            self.fail(f"{section}.{key}", "not a key", f"use {shape} (quote yes, no, on, off)")
        full = PREFIXES[section] + key
        entry = {} if entry is None else entry
        if not isinstance(entry, dict):
            self.fail(full, f"expected a mapping, got {_shown(entry)}", "write `{aliases: [word, ...]}`, or {} for none")
        if stray := [str(name) for name in entry if name not in FIELDS[section]]:
            self.fail(f"{full}.{stray[0]}", "no such field", f"use {', '.join(sorted(FIELDS[section]))}")
        name = key.rpartition(".")[2].replace("_", " ")
        prompts = self.texts(f"{full}.prompts", entry.get("prompts", [_filled(template, name) for template in templates]))
        if not prompts:
            self.fail(f"{full}.prompts", "an empty list", "give at least one text, or leave `prompts` out for the template")
        words = (name, *self.texts(f"{full}.aliases", entry.get("aliases", [])))
        return Label(full, tuple(dict.fromkeys(words)), prompts, self.texts(f"{full}.negatives", entry.get("negatives", [])))

    def texts(self, key: str, values: Any) -> tuple[str, ...]:
        if not isinstance(values, list):
            self.fail(
                key, f"expected a list of texts, got {_shown(values)}", f"write [{values}]" if isinstance(values, str) else "write [...]"
            )
        for value in values:
            if not isinstance(value, str) or not normalise(value):
                self.fail(key, f"expected texts, got {_shown(value)}", "quote it" if value is not None else "quote it, or take it out")
        return tuple(values)

    def complete(self, labels: Mapping[str, Label]) -> None:
        if OTHER_SCENE not in labels:
            self.fail(OTHER_SCENE, "missing", "add `other: {}` to scenes: unexpected answers are counted there")
        expected, given = {f"attr.{name}" for name in ATTRIBUTES}, {key for key in labels if key.startswith("attr.")}
        if given != expected:
            wrong = sorted(given ^ expected)[0]
            self.fail(wrong, "missing" if wrong in expected else "no such attribute", f"attributes are exactly {', '.join(ATTRIBUTES)}")

    def fail(self, key: str, wrong: str, remedy: str) -> NoReturn:
        raise TaxonomyError(": ".join(part for part in (self.file, key, f"{wrong}; {remedy}") if part))


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice; merge the two", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.60}"


@lru_cache(maxsize=8)
def _read(name: str, text: str) -> Taxonomy:
    """A taxonomy of the same words is read once: parsing takes a third of a second of a busy machine, and every stage asks."""
    return _Reader(name).read(yaml.load(text, Loader=_StrictLoader))  # noqa: S506 - a subclass of SafeLoader
