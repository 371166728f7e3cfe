"""The taxonomy: what it holds, what words mean, and which files it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vibe_assets.labels.taxonomy import Taxonomy, TaxonomyError
from vibe_assets.records import ATTRIBUTES

SCENES = ("landscape", "snapshot", "people", "animals", "food", "product", "document", "screenshot", "other")
SMALL = """
version: 1
scenes: {other: {}, people: {aliases: [selfie]}}
attributes: {has_person: {}, has_animal: {}, has_text: {}, is_document: {}, is_screenshot: {}}
objects:
  food: {aliases: [meal]}
  food.cake: {}
"""


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return Taxonomy.load()


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_packaged_taxonomy_has_nine_scenes_five_attributes_and_a_tree_of_objects(taxonomy):
    assert taxonomy.scenes == tuple(f"scene.{name}" for name in SCENES)
    assert taxonomy.attributes == tuple(f"attr.{name}" for name in ATTRIBUTES)
    assert 80 <= len(taxonomy.objects) <= 110
    assert all(taxonomy.known(parent) for key in taxonomy.objects for parent in taxonomy.parents(key))


def test_every_label_of_the_real_photos_is_known(taxonomy, real_data):
    used = set()
    for line in (real_data / "labels.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        used |= {row["scene"], *row["objects"].split(","), *json.loads(row["attributes"])} - {""}
    assert len(used) > 15
    assert sorted(key for key in used if not taxonomy.known(key)) == []


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
def test_many_words_mean_one_object_and_the_rest_mean_none(taxonomy, word, key):
    assert taxonomy.object_of(word) == key


@pytest.mark.parametrize(
    ("word", "key"),
    [
        (" Selfie\n", "scene.people"), ("PORTRAITS", "scene.people"), ("screen-shot", "scene.screenshot"), ("scene.food", "scene.food"),
        ("something else entirely", "scene.other"), ("other", "scene.other"), ("unknown", None), ("  ", None), (None, None), (True, None),
        (["food"], None),
    ],
)  # fmt: skip
def test_an_unexpected_scene_is_other_and_no_word_is_no_scene(taxonomy, word, key):
    assert taxonomy.scene_of(word) == key


def test_a_child_implies_its_parents_nearest_first(taxonomy):
    assert taxonomy.parents("object.food.dessert.cake") == ("object.food.dessert", "object.food")
    assert taxonomy.parents("scene.food") == ()
    assert taxonomy.closure(["object.food.dessert.cake", "object.food.pizza"]) == (
        "object.food.dessert.cake", "object.food.dessert", "object.food", "object.food.pizza",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"expected a key of the taxonomy, got 'object.nothing'"):
        taxonomy.parents("object.nothing")


def test_every_label_has_prompts_and_every_attribute_its_opposite(taxonomy):
    prompts = taxonomy.prompts()
    assert set(prompts) == {*taxonomy.scenes, *taxonomy.attributes, *taxonomy.objects}
    assert all(text and "{" not in text for texts in prompts.values() for text in texts)
    assert prompts["object.dailystuff.umbrella"][0] == "a photo of an umbrella"
    assert set(taxonomy.negative_prompts()) == set(taxonomy.attributes)


def test_the_fingerprint_moves_with_meaning_only(tmp_path):
    first = Taxonomy.load(written(tmp_path, SMALL))
    assert Taxonomy.load(written(tmp_path, "# a comment\n" + SMALL)).fingerprint == first.fingerprint
    assert Taxonomy.load(written(tmp_path, SMALL.replace("[meal]", "[meal, dish]"))).fingerprint != first.fingerprint
    assert Taxonomy.load(written(tmp_path, SMALL.replace("version: 1", "version: 2"))).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[meal]", "meal", r"object.food.aliases: expected a list of texts, got str 'meal'; write \[meal\]"),
        ("[meal]", "[meal, no]", "object.food.aliases: expected texts, got bool False; quote it"),
        ("[meal]", "[meal, '']", "object.food.aliases: expected texts, got str ''"),
        ("food.cake: {}", "food.cake: {aliases: [Meal]}", "object.food.cake: the word 'meal' belongs to object.food already; keep it"),
        ("food.cake: {}", "drink.tea: {}", r"object.drink.tea: its parent object.drink is not in the file; add `drink: \{\}`"),
        ("food.cake: {}", "Food Cake: {}", "objects.Food Cake: not a key; use lowercase"),
        ("food.cake: {}", "on: {}", r"objects.True: not a key; .*\(quote yes, no, on, off\)"),
        ("food.cake: {}", "food.cake: {alias: [x]}", "object.food.cake.alias: no such field; use aliases, prompts"),
        ("food.cake: {}", "food.cake: [x]", "object.food.cake: expected a mapping, got list"),
        ("food.cake: {}", "food.cake: {prompts: []}", "object.food.cake.prompts: an empty list; give at least one"),
        ("food.cake: {}", "food.cake: {}\n  food.cake: {}", "'food.cake' is given twice"),
        ("other: {}, ", "", "scene.other: missing; add"),
        ("other: {}, ", "other: {}, a.b: {}, ", "scenes.a.b: not a key"),
        ("has_text: {}, ", "", "attr.has_text: missing; attributes are exactly has_person"),
        ("has_text: {}, ", "has_text: {}, is_blue: {}, ", "attr.is_blue: no such attribute"),
        ("version: 1", "", "version: expected a whole number from 1, got nothing"),
        ("version: 1", "version: 1\ncolours: {}", "colours: no such section; use one of"),
        ("version: 1", "version: 1\ntemplates: {objects: [a photo]}", "templates.objects: 'a photo' has no {name}"),
        ("version: 1", "version: 1\ntemplates: {things: [a]}", "templates: expected lists of texts for scenes"),
        ("version: 1", "version: [", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_file_key_and_remedy(tmp_path, old, new, complaint):
    assert old in SMALL
    path = written(tmp_path, SMALL.replace(old, new))
    with pytest.raises(TaxonomyError, match=complaint) as caught:
        Taxonomy.load(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_names_the_setting(tmp_path):
    with pytest.raises(TaxonomyError, match=r"\[labels\] taxonomy"):
        Taxonomy.load(tmp_path / "absent.yaml")
