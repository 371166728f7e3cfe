"""A Desk goes in, the OpenAPI document of the audit page's requests comes out: what may be asked, said and answered, with its labels."""

from __future__ import annotations

from typing import Any

from vibe_assets.audit.desk import MAX_NAME, MAX_OBJECTS, MAX_REASON, VERDICT_ID, VIEWS, Desk
from vibe_assets.audit.pictures import SIDES
from vibe_assets.questions import ManyOf, Question, YesNo

REFUSALS = {
    "400": "no JSON, or no JSON object",
    "403": "refused by the guard: another site's page, an unknown Host, or no token",
    "404": "not in the sample",
    "409": "the verdict_id is in use, or there is nothing to undo",
    "413": "the body is too long",
    "415": "the body is not application/json",
    "422": "a field is wrong; the text names it",
    "503": "not kept, or not readable, for the moment; try again",
}
JSON = "application/json"


def document(desk: Desk) -> dict[str, Any]:
    """The document, as served at /api/openapi.json."""
    name = _asked("annotator", {"$ref": "#/components/schemas/Annotator"}, required=True)
    view = _asked("view", {"type": "string", "enum": ["", *VIEWS]})
    scene = _asked("scene", {"type": "string", "enum": ["", *(() if desk.questions.main is None else desk.questions.main.keys)]})
    without = _asked("without", {"type": "string", "description": "image_ids already at hand, with commas between"})
    image_id = {"name": "image_id", "in": "path", "required": True, "schema": {"$ref": "#/components/schemas/ImageId"}}
    size = _asked("size", {"type": "string", "enum": ["", *SIDES]})
    return {
        "openapi": "3.1.0",
        "info": {"title": "vibe audit", "version": "1", "description": "The page where people check the teacher's labels."},
        "paths": {
            "/": {"get": _operation("The page itself", {"text/html": {"schema": {"type": "string"}}}, "403")},
            "/api/desk": {"get": _operation("The labels there are", _json("About"), "403")},
            "/api/queue": {
                "get": _operation("The next photos for a person", _json("Queue"), "403", "422", asked=[name, view, scene, without])
            },
            "/api/last": {"get": _operation("What an undo would take back", _json("Last"), "403", "422", asked=[name])},
            "/api/verdicts": {"post": _said("Keep what a person says of a photo", "Said", "Kept", *REFUSALS)},
            "/api/done": {"post": _said("Somebody is done: the graph may move", "Done", "DoneKept", "400", "403", "413", "415")},
            "/photo/{image_id}": {
                "get": _operation("A photo of the sample", {"image/jpeg": {}}, "403", "404", "503", asked=[image_id, size])
            },
        },
        "components": {"schemas": _schemas(desk)},
    }  # fmt: skip


def _operation(summary: str, content: dict[str, Any], *refusals: str, asked: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    answers = {status: {"description": REFUSALS[status], "content": {"text/plain": {"schema": {"type": "string"}}}} for status in refusals}
    return {"summary": summary, "parameters": asked or [], "responses": {"200": {"description": "as asked", "content": content}, **answers}}


def _said(summary: str, body: str, answer: str, *refusals: str) -> dict[str, Any]:
    return {**_operation(summary, _json(answer), *refusals), "requestBody": {"required": True, "content": _json(body)}}


def _json(schema: str) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _asked(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    """A parameter of the query. An empty one counts as left out."""
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _object(required: str = "", /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


def _schemas(desk: Desk) -> dict[str, Any]:
    """What the bodies hold. What a person may say is as narrow as the desk is; the labels are those of the taxonomy."""
    text, number, flag = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
    count = {"type": "integer", "minimum": 0}
    verdict_id = {"type": "string", "pattern": f"^(?:{VERDICT_ID.pattern})$"}
    labels = _object(**{question.key: _answer(question) for question in desk.questions})
    share = {"type": "number", "minimum": 0, "maximum": 1}
    answers = {
        "teacher": _or_null("Labels"),
        "student": _or_null("Labels"),
        "confidence": {"type": "object", "additionalProperties": share},
    }
    image_id = {"$ref": "#/components/schemas/ImageId"}
    person = {"$ref": "#/components/schemas/Annotator"}
    progress = _object(
        "photos judged skipped half_width target sentence",
        photos=count, judged=count, skipped=count, half_width={"type": ["number", "null"]}, target=number, sentence=text,
    )  # fmt: skip
    seen = {"seen": {"type": ["string", "null"]}, "view": text, "changed": flag}
    common = {"verdict_id": verdict_id, "image_id": image_id, "annotator": person, "spent_ms": {"type": "number", "minimum": 0}}
    needed = "verdict_id image_id annotator spent_ms act"
    skipped = {"type": "string", "minLength": 1, "maxLength": MAX_REASON}
    return {
        "ImageId": {"type": "string", "enum": sorted(desk.photos)},
        "Annotator": {"type": "string", "minLength": 1, "description": f"1 to {MAX_NAME} printable characters, spaces aside"},
        "Labels": labels,
        "Said": {
            "oneOf": [
                _object(f"{needed} labels", **common, **seen, act={"const": "label"}, labels={"$ref": "#/components/schemas/Labels"}),
                _object(f"{needed} reason", **common, **seen, act={"const": "skip"}, reason=skipped),
                _object(f"{needed} undoes", **common, **seen, act={"const": "undo"}, undoes=verdict_id),
            ]
        },
        "Kept": _object("verdict_id act progress", verdict_id=text, act=text, progress=progress),
        "Done": {"type": "object"},
        "DoneKept": _object("done", done={"const": True}),
        "About": _object(
            "scenes attributes objects photos blind_share",
            scenes={"type": "array", "items": text}, attributes={"type": "array", "items": text},
            objects={"type": "object", "additionalProperties": {"type": "array", "items": text}}, photos=count, blind_share=share,
            vocabulary={"type": "array", "items": {"type": "object", "description": "a question as the page draws it"}},
        ),
        "Item": _object(
            "image_id name width height blind", image_id=image_id, name=text, width=count, height=count, blind=flag, seen=text,
            off={"type": "array", "items": text, "description": "questions that are switched off where the photo lies"}, **answers
        ),
        "Queue": _object("items left progress", items={"type": "array", "items": {"$ref": "#/components/schemas/Item"}}, left=count,
                         progress=progress),
        "Last": _object("last", last={"oneOf": [{"type": "null"}, _object(
            "verdict_id item labels", verdict_id=text, item={"$ref": "#/components/schemas/Item"}, labels=_or_null("Labels"))]}),
    }  # fmt: skip


def _answer(question: Question) -> dict[str, Any]:
    """What may be said of one question."""
    if isinstance(question, YesNo):
        flags: dict[str, Any] = {label.word: {"type": ["boolean", "null"]} for label in question.labels}
        return {**_object(**flags), "additionalProperties": False}
    if isinstance(question, ManyOf):
        return {"type": "array", "maxItems": MAX_OBJECTS, "items": {"enum": sorted(question.keys)}}
    return {"enum": [*question.keys, None]}


def _or_null(schema: str) -> dict[str, Any]:
    return {"oneOf": [{"type": "null"}, {"$ref": f"#/components/schemas/{schema}"}]}
