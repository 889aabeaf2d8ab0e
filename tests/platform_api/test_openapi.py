"""The OpenAPI document describes everything, and its examples are true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from platform_api import schemas
from platform_api.app import TAGS, describe

DOCUMENT: dict[str, Any] = describe().openapi()


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


EVERY = pytest.mark.parametrize("operation", [pytest.param(o, id=name) for name, o in operations()])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def examples(content: dict[str, Any]) -> list[Any]:
    """Examples of a media type: its own, or those of its schema."""
    named = [example["value"] for example in content.get("examples", {}).values()]
    return named or (
        [content["example"]] if "example" in content else resolved(content["schema"]).get("examples", [])
    )


@EVERY
def test_every_operation_is_described(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert set(operation["tags"]) <= {tag["name"] for tag in TAGS}
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]


@EVERY
def test_every_body_and_every_answer_has_an_example_that_is_true(operation: dict[str, Any]) -> None:
    told = {"body": operation.get("requestBody"), **operation["responses"]}
    for status, response in told.items():
        if status != "body" and not status.startswith("2"):
            continue
        for media_type, content in (response or {}).get("content", {}).items():
            assert examples(content), f"{status} {media_type}"
            if media_type == "application/json":
                model = getattr(schemas, content["schema"]["$ref"].rpartition("/")[2])
                for example in examples(content):
                    said = model.model_validate(example).model_dump(mode="json")
                    assert {name: said[name] for name in example} == example


@EVERY
def test_every_failure_is_a_problem(operation: dict[str, Any]) -> None:
    failures = {s: r for s, r in operation["responses"].items() if s[0] in "45" and operation["tags"] != ["health"]}
    for response in failures.values():
        ((media_type, content),) = response["content"].items()
        assert media_type == "application/problem+json"
        assert resolved(content["schema"])["title"] == "Problem"


def test_only_what_changes_something_asks_for_the_token() -> None:
    asking = [name for name, operation in operations() if "security" in operation]
    assert asking == ["POST /notifications/{notification}/ack", "POST /labels", "POST /packages"]
    assert asking == [name for name, _ in operations() if not name.startswith("GET")]


def test_every_reference_leads_somewhere() -> None:
    def walk(tree: Any) -> Iterator[str]:
        if isinstance(tree, dict):
            if isinstance(tree.get("$ref"), str):
                yield tree["$ref"]
            for branch in tree.values():
                yield from walk(branch)
        elif isinstance(tree, list):
            for branch in tree:
                yield from walk(branch)

    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(walk(DOCUMENT)) <= known
    assert "HTTPValidationError" not in str(DOCUMENT)
