"""Writing into HubSpot: values, and events for the timeline."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from crm.connectors.base import Activity, Change, ConnectorError
from crm.connectors.hubspot_values import written
from tests.crm.connectors.hubspot.sandbox import CONTACTS

MOMENT = datetime(2026, 11, 1, 23, 30, 15, 123456, UTC)


def activity(record_id="1", name="message_opened", **properties):
    return Activity(str(uuid4()), record_id, name, MOMENT, properties)


class TestValues:
    def test_every_kind_of_value_is_taken(self, few):
        values = {
            "nudge_opens": 3,
            "nudge_score": 7.5,
            "nudge_unsubscribed": True,
            "nudge_last_engagement": MOMENT,
            "jobtitle": "Überbäckerin 🥐",
            "phone": None,
        }
        assert few.connector().write(CONTACTS, [Change("1", values)]) == [None]
        assert few.value("1", "nudge_opens") == "3"
        assert few.value("1", "nudge_score") == "7.5"
        assert few.value("1", "nudge_unsubscribed") == "true"
        assert few.value("1", "nudge_last_engagement") == "2026-11-01T23:30:15.123Z"
        assert few.value("1", "jobtitle") == "Überbäckerin 🥐"
        assert few.value("1", "phone") is None

    def test_a_date_has_no_time(self):
        assert written(MOMENT, "date") == "2026-11-01"
        assert written(["a", "b"], "list") == "a;b"
        assert written(3.0, "number") == "3"

    def test_a_bad_value_does_not_stop_its_neighbours(self, few):
        changes = [Change(str(number), {"nudge_opens": number}) for number in (1, 2)]
        bad = Change("3", {"nudge_opens": "many"})
        one, refused, two = few.connector().write(CONTACTS, [changes[0], bad, changes[1]])
        assert (one, two) == (None, None)
        assert refused.startswith("HubSpot refused it: ")
        assert (few.value("1", "nudge_opens"), few.value("2", "nudge_opens")) == ("1", "2")

    def test_a_batch_refused_as_a_whole_is_tried_in_halves(self, few):
        changes = [Change(number, {"nudge_opens": 1}) for number in sorted(few.ids())[:4]]
        # All four, then the first two, then the first alone.
        few.script({"path": "batch/update", "nth": [1, 2, 3], "status": 400})
        said = few.connector().write(CONTACTS, changes)
        assert [bool(sentence) for sentence in said] == [True, False, False, False]
        assert few.value(changes[0].id, "nudge_opens") is None
        assert [few.value(change.id, "nudge_opens") for change in changes[1:]] == ["1", "1", "1"]

    def test_a_property_that_has_gone_costs_one_call_more(self, few):
        connector = few.connector()
        connector.fields(CONTACTS)
        body = {
            "status": "error",
            "message": "Property values were not valid",
            "errors": [
                {
                    "message": "no such property",
                    "code": "PROPERTY_DOESNT_EXIST",
                    "context": {"propertyName": ["gone"]},
                }
            ],
        }
        few.script({"path": "batch/update", "nth": 1, "status": 400, "body": body})
        few.forget_calls()
        changes = [
            Change("1", {"nudge_opens": 1}),
            Change("2", {"gone": 1}),
            Change("3", {"nudge_opens": 2, "gone": 1}),
        ]
        said = connector.write(CONTACTS, changes)
        assert [bool(sentence) for sentence in said] == [False, True, True]
        assert len(few.calls) == 2

    def test_changes_of_one_record_are_one(self, few):
        changes = [Change("1", {"nudge_opens": 1}), Change("1", {"nudge_clicks": 2, "nudge_opens": 3})]
        assert few.connector().write(CONTACTS, changes) == [None, None]
        assert (few.value("1", "nudge_opens"), few.value("1", "nudge_clicks")) == ("3", "2")

    def test_a_record_that_was_merged_away_is_written_into_its_winner(self, few):
        few.merge("1", "2")
        assert few.connector().write(CONTACTS, [Change("2", {"nudge_opens": 4})]) == [None]
        assert few.value("1", "nudge_opens") == "4"

    def test_a_lost_answer_is_written_once_more(self, few):
        few.script({"path": "batch/update", "nth": 1, "truncate": 10})
        assert few.connector().write(CONTACTS, [Change("1", {"nudge_opens": 4})]) == [None]
        assert few.value("1", "nudge_opens") == "4"

    def test_a_missing_scope_is_no_row_s_fault(self, few):
        few.script({"path": "batch/update", "status": 403})
        with pytest.raises(ConnectorError, match="crm.objects.contacts.write"):
            few.connector().write(CONTACTS, [Change("1", {"nudge_opens": 4})])


class TestActivities:
    def test_they_arrive_as_events_of_the_account(self, few):
        sent = [activity("1", url="https://shop.example/?a=1", step=2), activity("2")]
        assert few.connector().send(CONTACTS, sent) == [None, None]
        first, second = few.hubspot.events
        assert first["eventName"] == "pe1234567_message_opened"
        assert first["properties"] == {"url": "https://shop.example/?a=1", "step": "2"}
        assert first["occurredAt"] == "2026-11-01T23:30:15.123Z"
        assert (first["objectId"], second["objectId"]) == ("1", "2")
        assert (first["uuid"], second["uuid"]) == (sent[0].id, sent[1].id)

    def test_an_account_without_events_is_asked_once(self, few):
        few.script({"path": "events/v3/send", "status": 403})
        connector = few.connector()
        said = connector.send(CONTACTS, [activity(), activity(), activity()])
        assert all("Enterprise" in sentence for sentence in said)
        assert connector.calls == 2  # the account's number, and one event

    def test_one_that_is_there_already_is_done(self, few):
        few.script({"path": "events/v3/send", "nth": 1, "status": 409})
        assert few.connector().send(CONTACTS, [activity(), activity()]) == [None, None]

    def test_one_that_is_refused_does_not_stop_the_next(self, few):
        few.script({"path": "events/v3/send", "nth": 1, "status": 400})
        said = few.connector().send(CONTACTS, [activity(), activity()])
        assert said[0].startswith("HubSpot refused it")
        assert said[1] is None
        assert len(few.hubspot.events) == 1
