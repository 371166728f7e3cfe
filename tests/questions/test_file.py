"""Label files: what the packaged one holds, what words mean, which files are refused, and files of before."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.questions import PACKAGED, styled
from vibe_assets.questions import LabelFileError, ManyOf, OneOf, YesNo, load, packs
from vibe_assets.teacher.prompts import unmentioned

SCENES = ("landscape", "snapshot", "people", "animals", "food", "product", "document", "screenshot", "other")
ATTRIBUTES = ("has_person", "has_animal", "has_text", "is_document", "is_screenshot")
BEFORE = """
version: 1
scenes: {other: {}, people: {aliases: [selfie]}}
attributes: {has_person: {}, has_animal: {}, has_text: {}, is_document: {}, is_screenshot: {}}
objects:
  food: {aliases: [meal]}
  food.cake: {}
"""
TODAY = """
version: 3
languages: [en, de]
questions:
  kind:
    type: one_of
    ask: {en: what it is, de: was es ist}
    labels: {work: {name: {en: Work, de: Arbeit}}, home: {}}
  facts:
    type: yes_no
    labels: {is_blurred: {hint: not sharp}, at_work: {}}
  plants:
    type: many_of
    labels:
      tree: {aliases: [trunk]}
      tree.oak: {}
rules:
  - {label: at_work, follows: {kind: work}}
"""


BOMB = "version: 1\na: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def object_of(word: str) -> str | None:
    told = PACKAGED["objects"].tell({"objects": [thing(word)]}, min_confidence=0.5, include_non_main=False)
    return next(iter(told.values["objects"]), None)


def thing(word: object) -> dict[str, object]:
    return {"name_free": "x", "coarse_type": word, "is_main": True, "confidence": 0.9}


# -- the packaged file -------------------------------------------------------------------------------------------------
def test_the_packaged_file_has_nine_scenes_five_attributes_and_a_tree_of_objects() -> None:
    scene, attributes, objects = PACKAGED
    assert (type(scene), type(attributes), type(objects)) == (OneOf, YesNo, ManyOf)
    assert scene.keys == tuple(f"scene.{name}" for name in SCENES)
    assert attributes.keys == tuple(f"attr.{name}" for name in ATTRIBUTES)
    assert PACKAGED.columns == ("scene", *ATTRIBUTES, "objects")
    assert PACKAGED.heads == ("scene", "attribute", "object")
    assert 80 <= len(objects.keys) <= 110
    assert all(PACKAGED.known(parent) for key in objects.keys for parent in PACKAGED.parents(key))


def test_every_label_of_the_real_photos_is_known(real_data: Path) -> None:
    used = set()
    for line in (real_data / "labels.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        used |= {row["scene"], *row["objects"].split(","), *json.loads(row["attributes"])} - {""}
    assert len(used) > 15
    assert sorted(key for key in used if not PACKAGED.known(key)) == []


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("keyboard", "object.electronics.peripheral.keyboard"), ("computer_case", "object.electronics"),
        ("screen", "object.electronics.display.monitor"), ("packaging", "object.dailystuff.packaging"),
        (" Card ", "object.document.bank_card"), ("earphones", "object.electronics.audio.earbuds"),
        ("cell-phones", "object.electronics.phone"), ("BANK CARD", "object.document.bank_card"),
        ("bank_cards", "object.document.bank_card"),
        ("puppies", "object.animals.dog"), ("knives", "object.dailystuff.tableware"), ("boxes", "object.dailystuff.packaging"),
        ("glasses", "object.dailystuff.glasses"), ("shoe", "object.dailystuff.shoes"), ("mice", "object.electronics.peripheral.mouse"),
        ("object.food.pizza", "object.food.pizza"), ("food.pizza", "object.food.pizza"),
        ("other", None), ("unknown", None), ("", None), ("flux capacitor", None), (None, None), (7, None), (["mug"], None),
    ],
)  # fmt: skip
def test_many_words_mean_one_object_and_the_rest_mean_none(word: str, key: str | None) -> None:
    assert object_of(word) == key


@pytest.mark.parametrize(
    ("word", "key"),
    [
        (" Selfie\n", "scene.people"), ("PORTRAITS", "scene.people"), ("screen-shot", "scene.screenshot"), ("scene.food", "scene.food"),
        ("something else entirely", "scene.other"), ("other", "scene.other"), ("unknown", None), ("  ", None), (None, None), (True, None),
        (["food"], None),
    ],
)  # fmt: skip
def test_an_unexpected_scene_is_other_and_no_word_is_no_scene(word: object, key: str | None) -> None:
    told = PACKAGED["scene"].tell({"scene": word}, min_confidence=0.5, include_non_main=False)
    assert told.values == {"scene": key}


def test_a_child_implies_its_parents_nearest_first() -> None:
    assert PACKAGED.parents("object.food.dessert.cake") == ("object.food.dessert", "object.food")
    assert PACKAGED.parents("scene.food") == ()
    assert PACKAGED.closure(["object.food.dessert.cake", "object.food.pizza"]) == (
        "object.food.dessert.cake", "object.food.dessert", "object.food", "object.food.pizza",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"expected a key of the label file, got 'object.nothing'"):
        PACKAGED.parents("object.nothing")


def test_every_label_has_prompts_and_every_attribute_its_opposite() -> None:
    prompts = PACKAGED.prompts()
    assert set(prompts) == {key for question in PACKAGED for key in question.keys}
    assert all(text and "{" not in text for texts in prompts.values() for text in texts)
    assert prompts["object.dailystuff.umbrella"][0] == "a photo of an umbrella"
    assert set(PACKAGED.negative_prompts()) == set(PACKAGED["attributes"].keys)


# -- files of before ---------------------------------------------------------------------------------------------------
def test_a_file_of_before_has_its_own_labels_and_asks_the_teacher_what_was_always_asked(tmp_path: Path) -> None:
    found = load(written(tmp_path, BEFORE))
    assert found.columns == PACKAGED.columns
    assert found["objects"].keys == ("object.food", "object.food.cake")
    assert found.prompt() == PACKAGED.prompt()
    assert found.asked_fingerprints == PACKAGED.asked_fingerprints
    told = found.tell({"scene": "Selfie", "has_text": True, "objects": [thing("meals")]}, min_confidence=0.5, include_non_main=False)
    assert (told.values["scene"], told.values["has_text"], told.values["objects"]) == ("scene.people", True, ["object.food"])


def test_the_fingerprint_moves_with_meaning_only(tmp_path: Path) -> None:
    first = load(written(tmp_path, BEFORE))
    assert load(written(tmp_path, "# a comment\n" + BEFORE)).fingerprint == first.fingerprint
    assert load(written(tmp_path, BEFORE.replace("[meal]", "[meal, dish]"))).fingerprint != first.fingerprint
    assert load(written(tmp_path, BEFORE.replace("version: 1", "version: 2"))).fingerprint != first.fingerprint


@pytest.mark.parametrize("changed", [("has_text: {}, ", ""), ("has_text: {}, ", "has_text: {}, is_blue: {}, ")])
def test_a_file_of_before_may_have_other_attributes(tmp_path: Path, changed: tuple[str, str]) -> None:
    found = load(written(tmp_path, BEFORE.replace(*changed)))
    assert ("has_text" in found.columns, "is_blue" in found.columns) == ("has_text" in changed[1], "is_blue" in changed[1])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[meal]", "meal", r", line 6: .*food.aliases: expected a list of texts, got str 'meal'; write \[meal\]"),
        ("[meal]", "[meal, no]", "food.aliases: expected texts, got bool False; quote it"),
        ("[meal]", "[meal, '']", "food.aliases: expected texts, got str ''"),
        ("food.cake: {}", "food.cake: {aliases: [Meal]}", ", line 7: .*food.cake: the word 'meal' belongs to object.food already; keep it"),
        ("food.cake: {}", "drink.tea: {}", r"drink.tea: its parent object.drink is not in the file; add `drink: \{\}`"),
        ("food.cake: {}", "Food Cake: {}", "objects.Food Cake: not a key; use lowercase"),
        ("food.cake: {}", "on: {}", r"objects.True: not a key; .*\(quote yes, no, on, off and null; a letter"),
        ("food.cake: {}", "food.cake: {alias: [x]}", "food.cake.alias: no such field; use one of name, hint, aliases, prompts"),
        ("food.cake: {}", "food.cake: [x]", "food.cake: expected a mapping, got list"),
        ("food.cake: {}", "food.cake: {prompts: []}", "food.cake.prompts: an empty list; give at least one"),
        ("food.cake: {}", "food.cake: {}\n  food.cake: {}", ", line 8: the key 'food.cake' is given twice"),
        ("other: {}, ", "any: {}, ", "scene.unexpected: 'other' is none of its labels"),
        ("other: {}, ", "other: {}, a.b: {}, ", "scene.a.b: not a key"),
        ("version: 1", "", "version: expected a whole number from 1, got nothing"),
        ("version: 1", "version: 1\ncolours: {}", ", line 3: colours: no such section; use one of"),
        ("version: 1", "version: 1\ntemplates: {objects: [a photo]}", "objects.templates: 'a photo' has no {name}"),
        ("version: 1", "version: 1\ntemplates: {things: [a]}", "templates: expected lists of texts for scenes"),
        ("version: 1", "version: [", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_before_is_refused_with_file_key_and_remedy(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in BEFORE
    path = written(tmp_path, BEFORE.replace(old, new))
    with pytest.raises(LabelFileError, match=complaint) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match=r"\[labels\] taxonomy"):
        load(tmp_path / "absent.yaml")


# -- files of today ----------------------------------------------------------------------------------------------------
def test_a_file_has_any_questions_of_the_three_types(tmp_path: Path) -> None:
    found = load(written(tmp_path, TODAY))
    assert found.columns == ("kind", "is_blurred", "at_work", "plants")
    assert [field.confidence for field in found.fields] == [
        "kind_confidence",
        "is_blurred_confidence",
        "at_work_confidence",
        "plants_confidences",
    ]
    assert found.main is found["kind"]
    assert found.closure(["plants.tree.oak"]) == ("plants.tree.oak", "plants.tree")
    assert found.follows["at_work"].keys == ("kind.work",)
    assert "was es ist" in found.prompt("de")
    assert "what it is" in found.prompt()


def test_a_fourth_question_is_in_the_prompt_and_the_schema_and_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    found = styled(tmp_path)
    assert found.columns == (*PACKAGED.columns, "style")
    assert found.schema["properties"]["style"] == {"type": "string", "enum": ["film", "phone", "drone", "unknown"]}
    assert {name: of for name, of in found.schema["properties"].items() if name != "style"} == PACKAGED.schema["properties"]
    prompt = found.prompt()
    assert "`style`: what it was taken with, exactly one of" in prompt
    assert '- "film": an analogue camera' in prompt
    assert unmentioned(prompt, found) == []
    assert unmentioned(PACKAGED.prompt(), found) == ["style", "film", "drone"], "phone is a word of the packaged prompt"
    before = {key: mark for key, mark in found.asked_fingerprints.items() if key != "style"}
    assert before == PACKAGED.asked_fingerprints, "what was asked before is not asked again"


def test_keys_and_names_of_any_script_are_read(tmp_path: Path) -> None:
    text = """
version: 1
languages: [en, ar, zh]
questions:
  φωτογραφία:
    type: one_of
    labels: {σπίτι: {}, straße: {}}
  标签:
    type: yes_no
    labels: {有_人: {name: {ar: "شخص", zh: '有"人"'}}, ist_größer: {name: {en: "*Bigger* | `x` [a](b) <b>"}}}
"""
    found = load(written(tmp_path, text))
    assert found.columns == ("φωτογραφία", "有_人", "ist_größer")
    assert found["φωτογραφία"].keys == ("φωτογραφία.σπίτι", "φωτογραφία.straße")
    person, bigger = found["标签"].labels
    assert (person.name("ar"), person.name("zh"), person.name("en")) == ("شخص", '有"人"', "شخص"), "without one of its own, the first"
    assert bigger.name("en") == "*Bigger* | `x` [a](b) <b>", "names are kept as they are; who writes them escapes them"
    assert json.loads(json.dumps(found.schema)) == found.schema
    told = found.tell({"φωτογραφία": "ΣΠΊΤΙ", "有_人": True}, min_confidence=0.5, include_non_main=False)
    assert (told.values["φωτογραφία"], told.values["有_人"]) == ("φωτογραφία.σπίτι", True)


def test_ten_thousand_labels_are_read_in_seconds(tmp_path: Path) -> None:
    many = "\n".join(f"      thing_{number}: {{}}" for number in range(10_000))
    path = written(tmp_path, f"version: 1\nquestions:\n  things:\n    type: many_of\n    labels:\n{many}\n")
    began = time.process_time()
    found = load(path)
    assert found["things"].words["thing 9999"] == "things.thing_9999"
    assert len(found["things"].keys) == 10_000
    assert time.process_time() - began < 60
    began = time.process_time()
    assert load(path) is found, "the same file is not read twice"
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("home: {}", "home: {}, home: {}", ", line 8: the key 'home' is given twice in one place; merge the two"),
        ("  facts:\n", "  kind: {}\n  facts:\n", ", line 9: the key 'kind' is given twice"),
        ("type: many_of", "type: some_of", ", line 13: plants.type: expected one of one_of, yes_no, many_of, rating, got str 'some_of'"),
        ("type: many_of", "kind: many_of", "plants.type: expected one of one_of, yes_no, many_of, rating, got nothing"),
        ("{kind: work}}", "{kind: sport}}", "follows: 'kind.sport' is no label of kind; use one of kind.work, kind.home"),
        ("{kind: work}}", "{plants: tree}}", "follows: expected one question of type one_of"),
        ("label: at_work", "label: at_sea", "label: 'at_sea' is no label of a yes_no question"),
        ("label: at_work, follows", "label: at_work, when", "not a rule: dict"),
        ("home: {}}", "home: {name: {de: ARBEIT}}}", r"home.name: 'ARBEIT' \(de\) is the name of kind.work already"),
        ("{name: {en: Work", "{name: {fr: Travail, en: Work", "name.fr: a language that the file does not have; add it to"),
        ("languages: [en, de]", "languages: []", "languages: an empty list"),
        ("      tree: {aliases: [trunk]}\n", "", "tree.oak: its parent plants.tree is not in the file; add `tree: {}` before it"),
        ("at_work: {}", "kind: {}", ", line 9: facts: the column 'kind' belongs to kind already; choose another key"),
        ("at_work: {}", "image_id: {}", "facts: 'image_id' is a column that tables have already"),
        ("    type: yes_no", "    type: yes_no\n    prefix: kind", "facts.prefix: 'kind' is that of kind; choose another"),
        ("home: {}}", "}", "kind.*one_of needs two labels at least, got 1"),
        ("    type: yes_no", "    type: yes_no\n    unexpected: x", "facts.unexpected: no such field"),
        ("questions:", "question:", "question: no such section; use one of version, languages, questions, rules"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_file_line_key_and_remedy(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in TODAY
    path = written(tmp_path, TODAY.replace(old, new, 1))
    with pytest.raises(LabelFileError, match=complaint) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}, line ")


@pytest.mark.parametrize("text", ["", "[]", "7", "a: [", "version: 1", "version: 1\nquestions: {}", "version: 1\nquestions: [a]"])
def test_a_file_without_questions_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LabelFileError, match=r"mine\.yaml"):
        load(written(tmp_path, text))


@pytest.mark.parametrize("name", sorted(packs()))
def test_a_starter_file_is_read_and_asked(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.yaml"
    file.write_text(packs()[name], encoding="utf-8")
    questions = load(file)
    assert {type(question) for question in questions} == {OneOf, YesNo, ManyOf}
    prompt = questions.prompt()
    assert all(word in prompt for question in questions for word in question.schema)
    assert questions.main is not None
    if name == "zuhause":
        assert "bei welcher Gelegenheit" in prompt
        assert questions["anlass"].labels[1].name("en") == "Party"


OWN = {
    "paper_document": "object.document.paper", "disk": "object.electronics.disk", "circuit_board": "object.electronics.circuit_board",
    "mini_pc": "object.electronics.mini_pc", "hub": "object.electronics.peripheral.hub",
    "controller": "object.electronics.console.controller", "charger": "object.electronics.charger",
    "game_console": "object.electronics.console", "packaging": "object.dailystuff.packaging",
}  # fmt: skip


def test_the_first_version_s_words_land_on_labels_of_their_own(tmp_path: Path) -> None:
    file = written(tmp_path, packs()["first_version"])
    questions = load(file)
    objects = questions["objects"]
    assert isinstance(objects, ManyOf)
    for word, key in OWN.items():
        answer = {"objects": [{"name_free": word, "coarse_type": word, "is_main": True, "confidence": 0.9}]}
        told = questions.tell(answer, min_confidence=0.7, include_non_main=False)
        assert (told.values["objects"], told.strange) == ([key], ())
        assert word in objects.words_offered
    dropped = {word for word in objects.words_offered if word.replace("_", " ") not in objects.words}
    assert dropped == {"other_object", "unknown"}, "every other word that the teacher may use means a label"
    other = [{"name_free": "x", "coarse_type": "other_object", "is_main": True, "confidence": 0.9}]
    assert questions.tell({"objects": other}, min_confidence=0.7, include_non_main=False).strange == ()
    assert (questions["scene"], questions["attributes"], questions.rules) == (PACKAGED["scene"], PACKAGED["attributes"], PACKAGED.rules)


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        ("type: one_of, labels: [x, x]", "the label 'x' is given twice; take one out"),
        ("type: one_of, labels: [{x: {}}, y]", "expected a list of keys, got dict"),
        ("type: one_of, labels: [unknown, y]", "'unknown' always means that nobody can tell; give the label another key"),
        ("type: one_of, labels: {x: {aliases: [Unknown]}, y: {}}", "'unknown' always means that nobody can tell"),
        ("type: one_of, labels: [none, y], abstain: [None]", "'None' is a word of a.none, too; keep it in one of the two"),
        ("type: one_of, labels: [x, y], example: z", "example: no answer to a question of type one_of: str 'z'"),
        ("type: yes_no, labels: [x, y], example: 7", "example: no answer to a question of type yes_no"),
        ("type: yes_no, labels: [x, y], example: {x: maybe}", "example: no answer to a question of type yes_no"),
        ("type: many_of, labels: [x, y], example: [x]", "example: no answer to a question of type many_of"),
        ("type: rating, example: 6", "example: no answer to a question of type rating"),
        ("type: one_of, labels: [x, y], not_in: scans", "expected a list of texts, got str 'scans'; write [scans]"),
        ("type: one_of, labels: [x, y], not_in: ['/']", "'/' names no folder below the photo root; write '**' for all folders"),
        ("type: one_of, labels: [x, y], not_in: [../scans]", "'../scans' names no folder below the photo root"),
        ("type: one_of, labels: {x: {hotkey: q}, y: {hotkey: Q}}", "hotkey: 'Q' is that of a.x; choose another"),
        ('type: one_of, labels: {x: {name: "a\\u202eb"}, y: {}}', "the control character U+202E"),
        ('type: one_of, labels: {x: {hint: "a\\u0007b"}, y: {}}', "the control character U+0007"),
        ('type: one_of, labels: {x: {aliases: ["a\\0b"]}, y: {}}', "the control character U+0000"),
        (f"type: one_of, labels: {{x: {{name: {'n' * 201}}}, y: {{}}}}", "a name of 201 letters, at most 200"),
        (f"type: one_of, name: {'n' * 201}, labels: [x, y]", "a name of 201 letters, at most 200"),
        (f"type: one_of, labels: [{'x' * 61}, y]", "at most 60"),
    ],
)
def test_a_question_that_could_not_be_asked_is_refused(tmp_path: Path, question: str, complaint: str) -> None:
    path = written(tmp_path, f"version: 1\nquestions:\n  a: {{{question}}}\n")
    with pytest.raises(LabelFileError) as caught:
        load(path)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"{path}, line 3: ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version: 1\nquestions: &a\n  a: *a\n", "line 2: values within values, more than 20 deep"),
        ("version: 1\nquestions:\n  a: &a {type: yes_no, labels: [x]}\n  b:\n    <<: *a\n", "line 5: `<<` is not read here"),
        (f"version: 1\nquestions: {'[' * 5000}{']' * 5000}\n", "values within values"),
        ("version: 1\nquestions:\n\ta: b\n", "that cannot start any token; indent with spaces"),
        (BOMB, "more than 500,000 values"),
        (f"version: 1\nquestions:\n  {'a' * 61}: {{type: yes_no, labels: [x]}}\n", "at most 60"),
    ],
)  # fmt: skip
def test_a_file_that_folds_into_itself_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(LabelFileError) as caught:
        load(written(tmp_path, text))
    assert complaint in str(caught.value)


def test_a_label_may_be_called_as_an_abstention_usually_is(tmp_path: Path) -> None:
    found = load(written(tmp_path, "version: 1\nquestions:\n  pet: {type: one_of, labels: [dog, none]}\n"))["pet"]
    told = [found.tell({"pet": said}, min_confidence=0.5, include_non_main=False).values["pet"] for said in ("none", "unclear", "unknown")]
    assert told == ["pet.none", None, None]
