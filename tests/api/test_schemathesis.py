"""schemathesis against every operation of the API: examples, boundaries and random data, good and bad.

It looks further with SCHEMATHESIS_EXAMPLES=300, and at other random data with another SCHEMATHESIS_SEED.
"""

import os

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from schemathesis.checks import load_all_checks, negative_data_rejection
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.generation.meta import TestPhase
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.specs.openapi.checks import ignored_auth

from config.wsgi import application
from crm import api_keys
from crm.models import Profile

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", 2))
SEED = int(os.environ.get("SCHEMATHESIS_SEED", 1))


@pytest.fixture
def api(db, settings):
    """The document and the application in this process; the key may read, write, publish and send."""
    settings.NUDGE_KEY_CACHE_SECONDS = 60  # nobody revokes it
    Profile.objects.create(pk=42, email="ada@example.com")
    key = api_keys.create("server", ["read", "write", "publish", "send"])[1]
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "parameters": {"query.key": api_keys.create("site", ["browser"])[1]},  # of beacons
            "checks": {"positive_data_acceptance": {"enabled": False}},  # see `_checked`
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
        }
    )
    load_all_checks()
    headers = {"Authorization": f"Bearer {key}"}
    # As Django's own client does: the test's transaction goes on after a request.
    signals = request_started, request_finished
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi("/api/v1/schema/?format=json", application, config=config), headers
    for signal in signals:
        signal.connect(close_old_connections)


# Each row is judged alone: bad ones are listed in an answer of success.
ROW_BY_ROW = {
    *("/api/v1/events/", "/api/v1/events/beacon/", "/api/v1/suppressions/", "/api/v1/consents/"),
    "/api/v1/exchange-rates/",
}
ROWS = ("/bulk/", "/members/", "/members/remove/")  # what such addresses end with


def _checked(case, headers):
    """All checks, but that random texts are taken: what an email or a country is, no schema tells. Examples must be."""
    by_row = case.method in ("POST", "PUT") and (case.path.endswith(ROWS) or case.path in ROW_BY_ROW)
    excluded = [negative_data_rejection] if by_row else []
    if case.meta.phase.name == TestPhase.COVERAGE:
        excluded.append(
            ignored_auth
        )  # asks twice more; what the other phases send shows it for each operation
    response = case.call_and_validate(headers=headers, excluded_checks=excluded)
    if case.meta.phase.name == TestPhase.EXAMPLES and case.meta.generation.mode == GenerationMode.POSITIVE:
        assert response.status_code < 400 or response.status_code in (404, 409), response.text


def test_it_finds_nothing(api):
    api, headers = api
    found = []
    operations = sorted((each.ok() for each in api.get_all_operations()), key=lambda each: each.label)
    for operation in operations:
        test = build_operation_test(
            config=api.config,
            operation=operation,
            test_func=lambda case: _checked(case, headers),
            given_kwargs={},
            feedback=FeedbackSources(),
        )
        try:
            test()
        except FailureGroup as failures:
            found.append(f"{operation.label}\n{failures}\n" + "\n".join(map(str, failures.exceptions)))
        except AssertionError as failure:
            found.append(f"{operation.label}\n{failure}")
    assert not found, "\n\n".join(found)
