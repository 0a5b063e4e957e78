"""The OpenAPI document: every operation is described, with examples that keep to their own schemas."""

import pytest
from drf_spectacular.generators import SchemaGenerator
from openapi_schema_validator import OAS30ReadValidator, OAS30WriteValidator

_DOCUMENT = None


def document():
    global _DOCUMENT
    _DOCUMENT = _DOCUMENT or SchemaGenerator().get_schema(request=None, public=True)
    return _DOCUMENT


def operations():
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def bodies(operation):
    """Each described body: where it is, its media types."""
    if "requestBody" in operation:
        yield "request", operation["requestBody"]["content"]
    for status, answer in operation["responses"].items():
        if answer.get("content"):
            yield status, answer["content"]


@pytest.fixture(scope="module")
def missing():
    """What operations lack."""
    found = []
    for name, operation in operations():
        answers = operation["responses"]
        for part in ("operationId", "summary", "tags"):
            if not operation.get(part):
                found.append(f"{name}: {part}")
        if not any(status.startswith("2") for status in answers):
            found.append(f"{name}: a 2xx answer")
        expected = {"400", "401", "403", "406", "429"} | (
            {"404"} if "{" in name and "PUT" not in name else set()
        )
        found += [f"{name}: {status}" for status in sorted(expected - set(answers))]
        for place, content in bodies(operation):
            for kind, described in content.items():
                if not described.get("examples") and kind == "application/json":
                    found.append(f"{name}: an example of {place}")
        found += [
            f"{name}: description of {status}" for status in answers if not answers[status]["description"]
        ]
    return found


def test_operations_lack_nothing(missing):
    assert missing == [], "; ".join(missing)


def test_operation_ids_are_used_once():
    ids = [operation["operationId"] for _name, operation in operations()]
    assert sorted(ids) == sorted(set(ids))


def test_examples_keep_to_their_schemas():
    whole = document()
    wrong = []
    for name, operation in operations():
        for place, content in bodies(operation):
            kind = OAS30WriteValidator if place == "request" else OAS30ReadValidator
            for described in content.values():
                for title, example in described.get("examples", {}).items():
                    checker = kind({"allOf": [described["schema"]], "components": whole["components"]})
                    wrong += [
                        f"{name} {place} “{title}”: {error.json_path} {error.message}"
                        for error in checker.iter_errors(example["value"])
                    ]
    assert wrong == []
