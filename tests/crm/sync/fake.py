"""A CRM in memory that does as a test tells it, and its connector."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from django import forms

from crm.connectors.base import (
    Budget,
    Connector,
    ConnectorError,
    Field,
    Hint,
    HookAnswer,
    HookRefused,
    ObjectType,
    Page,
    Record,
    Suggestion,
)
from crm.models import Connection

START = datetime(2026, 1, 1, tzinfo=UTC)
MAPPING = {
    "fields": {"email": "email", "name": "first_name", "city": "city"},
    "consent": {"push": {"kind": "channel", "key": "webpush"}},
}


class FakeCrm:
    """People by id and a feed of everything that happened to them, in order."""

    def __init__(self, people: int = 0):
        self.now = START
        self.people: dict[str, Record] = {}
        self.feed: list[Record] = []
        self.fields = [
            Field("email", "Email", "text"),
            Field("name", "Name", "text"),
            Field("city", "City", "text"),
            Field("push", "Push", "boolean"),
        ]
        self.page_size = 100
        self.listed: list[str] | None = None  # what the list of ids says instead of the truth
        self.script: Iterator[Page] | None = None  # pages to give out instead of the truth
        self.refused: set[str] = set()  # ids that make a read fail
        self.read_ids: list[str] = []
        self.erased: list[str] = []
        self.budget: Budget | None = None
        self.down: str = ""
        self.watched: list[str] = []
        for number in range(1, people + 1):
            self.put(str(number), email=f"p{number}@example.com", name=f"P{number}")

    def put(self, record_id: str, absorbed: tuple[str, ...] = (), **fields) -> Record:
        """Create or change a person."""
        self.now += timedelta(seconds=1)
        held = self.people.get(record_id)
        values = {field.name: None for field in self.fields} | (held.fields if held else {}) | fields
        record = Record(record_id, self.now, values, absorbed=absorbed or (held.absorbed if held else ()))
        self.people[record_id] = record
        self.feed.append(record)
        return record

    def delete(self, *ids: str, told: bool = True, **kinds) -> None:
        """Delete people; `told` as the feed says."""
        for record_id in ids:
            self.now += timedelta(seconds=1)
            self.people.pop(record_id, None)
            if told:
                self.feed.append(Record(record_id, self.now, {}, deleted=True, **kinds))


class Config(msgspec.Struct):
    account: str = "one"
    comment: str = ""


class Credentials(msgspec.Struct):
    token: str = "t"


class FakeConnector(Connector):
    """Reads the FakeCrm that the test put into `crm`."""

    kind, label = "fake", "Fake"
    Config, Credentials, Form = Config, Credentials, forms.Form
    objects = (ObjectType("people", "People", "person", chosen=True), ObjectType("leads", "Leads", "person"))
    identity_fields = ("account",)
    erase_batch = 2
    crm: FakeCrm

    @property
    def budget(self):
        return self.crm.budget

    def _call(self):
        self.calls += 1
        if self.crm.down:
            raise ConnectorError(self.crm.down)

    def fields(self, object_name):
        self._call()
        return list(self.crm.fields)

    def suggest(self, object_name, fields):
        return Suggestion(MAPPING["fields"], MAPPING["consent"])

    def pages(self, object_name, cursor, mode, names):
        if object_name != "people":
            yield Page(object_name, [], {"seq": 0}, until=self.crm.now)
            return
        if self.crm.script is not None:
            yield from self.crm.script
            return
        self._call()
        place = len(self.crm.feed)
        if mode == "full" or not cursor:
            records, start = list(self.crm.people.values()), None
        else:
            records, start = self.crm.feed[cursor["seq"] :], cursor["seq"]
        size = self.crm.page_size
        for at in range(0, max(1, len(records)), size):
            last = at + size >= len(records)
            done = place if last else (start or 0) + (at + size if start is not None else 0)
            # In the middle of a full read there is no place to go on from: it begins again.
            state = {"seq": done} if last or start is not None else {"seq": 0, "listed": at + size}
            yield Page(
                object_name,
                records[at : at + size],
                state,
                len(records),
                current=start is None,
                until=self.crm.now if last else None,
            )

    def erase(self, object_name, ids):
        self._call()
        assert len(ids) <= self.erase_batch
        self.crm.erased += ids
        self.crm.delete(*(one for one in ids if one in self.crm.people), erased=True)
        return ["It is locked." if one in self.crm.refused else None for one in ids]

    def read(self, object_name, ids, names):
        self._call()
        if self.crm.refused & set(ids):
            raise ConnectorError("No such id.")
        self.crm.read_ids += ids
        return [self.crm.people[record_id] for record_id in ids if record_id in self.crm.people]

    def ids(self, object_name):
        self._call()
        if object_name != "people":
            return
        ids = list(self.crm.people) if self.crm.listed is None else self.crm.listed
        for at in range(0, len(ids), 100):
            yield ids[at : at + 100]

    def hook(self, request):
        if request.headers.get("x-secret") != "s3cret":
            raise HookRefused
        hints = [Hint(**hint) for hint in msgspec.json.decode(request.body)]
        return HookAnswer(hints, b"<Ack/>", "text/xml")

    def watch(self, url, state, now):
        self.crm.watched.append(url)
        return {"calls": state.get("calls", 0) + 1}


def connect(crm: FakeCrm, slug: str = "crm", **values) -> Connection:
    """A connection to it, as a person would have made it."""
    FakeConnector.crm = crm
    return Connection.objects.create(
        kind="fake",
        name=slug.title(),
        slug=slug,
        mapping={"people": MAPPING},
        credentials={"token": "t"},
        **values,
    )
