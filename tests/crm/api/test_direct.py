"""A POST of events takes a shorter way than pages do; what it says stays the same."""

import pytest

from crm import ingest

EVENTS = {"events": [{"name": "seen", "profile": {"anonymous_id": "v"}}]}
PATHS = ["events/", "events/beacon/"]


def test_the_way_is_shorter(writer):
    answer = writer.post("events/", EVENTS)
    assert answer.status_code == 202
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "Content-Security-Policy" not in answer
    assert "Content-Security-Policy" in writer.get("topics/")


@pytest.mark.parametrize("path", PATHS)
def test_other_hosts_are_refused(writer, path):
    answer = writer.post(path, EVENTS, HTTP_HOST="elsewhere.example")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("path", PATHS)
def test_refusals_speak_the_callers_language(stranger, path):
    texts = {
        language: stranger.post(path, EVENTS, HTTP_ACCEPT_LANGUAGE=language)
        for language in ("en", "pl", "ar")
    }
    assert {answer["Content-Language"] for answer in texts.values()} == texts.keys()
    assert {answer.status_code for answer in texts.values()} == {401}


def test_a_failure_is_told_as_everywhere(writer, monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError

    monkeypatch.setattr(ingest, "take", fail)
    answer = writer.post("events/", EVENTS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "server_error")
