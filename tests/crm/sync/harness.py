"""A world for proving that syncing loses nothing: a CRM that keeps changing, a connection to it, and the truth.

A World holds one connector's sandbox and its connection. Its live writer changes records between the connector's
own requests, the same way for the same seed. `Crm` knows each vendor's store, and reads the truth straight from it,
not through the API that is under test. `tests.crm.sync.invariants` says what must hold.
"""

import os
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import count
from typing import Any, ClassVar

from django.utils import timezone

from crm.connectors import hubspot_api, hubspot_reading, salesforce, salesforce_http, zoho_api
from crm.connectors.base import Hint
from crm.connectors.hubspot import HubSpot
from crm.connectors.salesforce import Salesforce
from crm.connectors.zoho import Zoho
from crm.models import Connection, Identifier, Profile, SourceRecord, SyncRun
from crm.sandbox import faults
from crm.sandbox.inprocess import RunningSandbox, running_sandbox
from crm.sandbox.store import ConflictError
from crm.sync import engine, hints, pages, setup

PEOPLE = int(
    os.environ.get("FAULTS_PEOPLE", "80")
)  # of a world; more than the default take pages of real size
LARGE = PEOPLE > 1_000
PAGE = 20  # records of one page, so that a small world has many
GONE_AT_MOST = 9  # deletions by the writer: more would meet the brake
LONGEST_TEXT = 10_000
ACTIONS = {"update": 62, "create": 14, "delete": 9, "restore": 6, "merge": 9}
CITIES = ("Warszawa", "Berlin", "Lyon", "Porto", "Malmö", "Kraków", "Leeds", "São Paulo")
WRITTEN = ("score", "unsubscribed")  # what the worlds write back
LATER = 120.0  # seconds after which nothing is held back any more


@dataclass(frozen=True)
class Row:
    """One record as the CRM's store has it; `values` under our names, None for nothing."""

    id: str
    archived: bool
    modified: datetime
    merged: list[str]
    values: dict[str, Any]
    raw: dict[str, Any]

    @property
    def bad(self) -> bool:
        """Whether it holds a value that nobody could take."""
        texts = [value for value in self.raw.values() if isinstance(value, str)]
        email, birthday = self.values["email"], self.values["birthday"]
        return (
            any("\x00" in text or len(text) > LONGEST_TEXT or _halved(text) for text in texts)
            or bool(email and "@" not in email)
            or bool(birthday and not _is_date(birthday))
        )


def _halved(text: str) -> bool:
    return any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


class Crm:
    """One vendor: its store, its words, and how a connector reaches it.

    `everything`, `reads`, `writes` and `logins` are patterns of paths. `tells_merges`: the loser of a merge can be
    told from a deletion. `tells_restores`: a restored record shows without comparing all ids.
    """

    kind: ClassVar[str]
    object: ClassVar[str]
    config: ClassVar[dict[str, Any]]
    credentials: ClassVar[dict[str, str]]
    names: ClassVar[dict[str, str]]  # ours -> the CRM's
    score: ClassVar[str]
    unsubscribed: ClassVar[str]
    everything: ClassVar[str]
    reads: ClassVar[str]
    writes: ClassVar[str]
    logins: ClassVar[str]
    tells_merges: ClassVar[bool] = True
    tells_restores: ClassVar[bool] = False

    def __init__(self, sandbox: RunningSandbox):
        self.sandbox = sandbox
        self.vendor: Any = sandbox.vendors[self.kind]

    def rows(self) -> dict[str, Row]:
        """All records by id, without those that are erased."""
        return {shown["id"]: self._row(shown) for shown in self.vendor.dump(self.object) or ()}

    def _row(self, shown: dict[str, Any]) -> Row:
        raw = shown["properties"]
        values = {ours: self.value(ours, raw.get(theirs)) for ours, theirs in self.names.items()}
        modified = datetime.fromisoformat(shown["modified"]).astimezone(UTC)
        return Row(shown["id"], shown["archived"], modified, shown["merged_ids"], values, raw)

    def value(self, name: str, value: Any) -> Any:
        """A stored value as we should have it."""
        if name == "newsletter":
            return {"true": True, "false": False}.get(str(value).lower()) if value is not None else None
        if name == "points":
            return None if value in (None, "") else int(float(value))
        text = "" if value is None else str(value).strip()
        return (text.lower() if name == "email" else text) or None

    def edit(self, record_id: str, **body: Any) -> None:
        """Change a record as the sandbox's control API would."""
        self.vendor.edit(self.object, record_id, body)

    def create(self, values: dict[str, Any]) -> str:
        """A new record with values under our names; its id."""
        return self.vendor.create(self.object, self.theirs(values))["id"]

    def theirs(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values under the CRM's names."""
        return {self.names[name]: value for name, value in values.items()}

    def there(self, *, archived: bool = False) -> list[str]:
        """Ids of what is live, or in the recycle bin (but not merged away)."""
        raise NotImplementedError

    def hide_all(self, hidden: bool) -> list[dict[str, Any]]:
        """Show no record any more, as after a loss of rights; rules of a fault script, if that takes any."""
        raise NotImplementedError

    def resurrect(self, row: Row) -> None:
        """Have the store hold an erased record again, as a stale copy of it would."""
        raise NotImplementedError

    def written(self, row: Row, name: str) -> Any:
        """What the store has in a field that we write: a number, a boolean, or None."""
        value = row.raw.get(name)
        if value in (None, ""):
            return None
        if isinstance(value, bool):
            return value
        told = {"true": True, "false": False}.get(str(value).lower())
        return float(value) if told is None else told


class HubSpotCrm(Crm):
    kind, object = "hubspot", "contacts"
    config: ClassVar = {"server": "sandbox", "access": "oauth", "deletions_every_minutes": 1}
    credentials: ClassVar = {"client_id": "app", "client_secret": "secret", "refresh_token": "refresh"}
    names: ClassVar = {
        "first_name": "firstname",
        "last_name": "lastname",
        "email": "email",
        "city": "city",
        "birthday": "date_of_birth",
        "points": "loyalty_points",
        "newsletter": "newsletter_opt_in",
    }
    score, unsubscribed = "nudge_score", "nudge_unsubscribed"
    everything, reads = r"/crm/v3/", r"/objects/contacts(\?|/search|/batch/read)"
    writes, logins = r"/contacts/batch/update", r"/oauth/v1/token"

    def there(self, *, archived: bool = False) -> list[str]:
        return [str(row.id) for row in self.vendor.contacts.records.values() if row.archived == archived]

    def hide_all(self, hidden: bool) -> list[dict[str, Any]]:
        nothing = {"results": [], "total": 0}
        return [{"path": self.reads, "body": nothing, "content_type": "application/json"}] if hidden else []

    def resurrect(self, row: Row) -> None:
        store = self.vendor.contacts
        new = store.create(
            {name: str(value) for name, value in row.raw.items() if name in self.names.values()}
        )
        del store.records[new.id]
        new.id = int(row.id)
        store.records[new.id] = new
        store.records = dict(sorted(store.records.items()))


class SalesforceCrm(Crm):
    kind, object = "salesforce", "Contact"
    config: ClassVar = {"server": "sandbox", "deletions_every_minutes": 1, "hook_key": "key"}
    credentials: ClassVar = {"client_id": "app", "client_secret": "secret"}
    names: ClassVar = {
        "first_name": "FirstName",
        "last_name": "LastName",
        "email": "Email",
        "city": "MailingCity",
        "birthday": "Birthdate",
        "points": "Loyalty_Points__c",
        "newsletter": "Newsletter_Opt_In__c",
    }
    score, unsubscribed = "Nudge_Score__c", "Nudge_Unsubscribed__c"
    everything, reads = r"/services/data/", r"/query(All)?/\?q=SELECT\+Id|/results"
    writes, logins = r"PATCH .*/composite/sobjects", r"/oauth2/token"
    tells_restores = True

    @property
    def table(self) -> Any:
        """The store itself."""
        return self.vendor.object("Contact").table

    def there(self, *, archived: bool = False) -> list[str]:
        found = self.table.records.values()
        return [row.id for row in found if row.deleted == archived and not row.master]

    def hide_all(self, hidden: bool) -> list[dict[str, Any]]:
        self.table.hidden = set(self.table.records) if hidden else set()
        return []

    def resurrect(self, row: Row) -> None:
        values = {name: row.raw[name] for name in self.names.values() if row.raw.get(name) is not None}
        self.table.rekey(self.table.create(values), row.id)


class ZohoCrm(Crm):
    kind, object = "zoho", "contacts"
    config: ClassVar = {"server": "sandbox"}
    credentials: ClassVar = {"client_id": "app", "client_secret": "secret", "refresh_token": "refresh"}
    names: ClassVar = {
        "first_name": "First_Name",
        "last_name": "Last_Name",
        "email": "Email",
        "city": "Mailing_City",
        "birthday": "Date_of_Birth",
        "points": "Loyalty_Points",
        "newsletter": "Newsletter_Opt_In",
    }
    score, unsubscribed = "Nudge_Score", "Nudge_Unsubscribed"
    everything, reads = r"/crm/v8/Contacts", r"/crm/v8/(Contacts(\?|/deleted)|coql)"
    writes, logins = r"PUT .*/crm/v8/Contacts$", r"/oauth/v2/token"
    tells_merges = False

    @property
    def module(self) -> Any:
        """The store itself."""
        return self.vendor.modules["Contacts"]

    def there(self, *, archived: bool = False) -> list[str]:
        return [row.id for row in self.module.rows.values() if row.archived == archived]

    def hide_all(self, hidden: bool) -> list[dict[str, Any]]:
        self.vendor.hidden = set(self.module.rows) if hidden else set()
        return []

    def resurrect(self, row: Row) -> None:
        new = self.module.create({name: row.raw.get(name) for name in self.names.values()})
        del self.module.rows[new.id]
        new.id = row.id
        self.module.rows[row.id] = new
        self.module.rows = dict(sorted(self.module.rows.items()))


CRMS: dict[str, type[Crm]] = {crm.kind: crm for crm in (HubSpotCrm, SalesforceCrm, ZohoCrm)}


def hurry(monkeypatch: Any) -> None:
    """Small pages for small worlds, and no long waits: what the connectors wait for is scripted, not real."""
    for cls in (HubSpot, Salesforce, Zoho):
        monkeypatch.setattr(cls, "backoff_seconds", 0.001)
    monkeypatch.setattr(Salesforce, "poll_seconds", 0.005)
    for module in (hubspot_api, salesforce_http, zoho_api):
        monkeypatch.setattr(module, "LONGEST_WAIT", 0.02)
    if LARGE:
        return
    monkeypatch.setattr(Salesforce, "page_size", PAGE)
    monkeypatch.setattr(hubspot_api, "PAGE", PAGE)
    monkeypatch.setattr(hubspot_reading, "SEARCH_PAGE", PAGE)
    monkeypatch.setattr(zoho_api, "PAGE", PAGE)
    monkeypatch.setattr(pages, "RECORDS", PAGE)


def impatient(monkeypatch: Any, seconds: float = 0.25) -> None:
    """Let the connectors wait this long for the next byte, and twice as long for a whole answer."""
    monkeypatch.setattr(HubSpot, "patience_seconds", seconds)
    monkeypatch.setattr(HubSpot, "slowest_seconds", 2 * seconds)
    monkeypatch.setattr(HubSpot, "retries", 2)
    monkeypatch.setattr(salesforce, "PATIENCE", seconds)
    monkeypatch.setattr(salesforce, "RETRIES", 2)
    monkeypatch.setattr(salesforce_http, "WHOLE_ANSWER_SECONDS", 2 * seconds)
    monkeypatch.setattr(Zoho._connect, "__defaults__", (2, seconds))
    monkeypatch.setattr(zoho_api, "WHOLE_ANSWER_SECONDS", 2 * seconds)


@dataclass
class World:
    """One connection to one CRM that keeps changing.

    Attributes:
        hidden_changes: ids whose present state only a comparison of all ids can find.
        erased: ids that were erased for privacy and told so.
        unmapped: names of values that are no longer compared.
        stamps: by id of the live records, the time of change that is stored.
        reports: of all runs so far.
        engaged: people about whom every run finds something to write back.
    """

    crm: Crm
    connection: Connection
    rng: random.Random
    hidden_changes: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    unmapped: set[str] = field(default_factory=set)
    stamps: dict[str, datetime] = field(default_factory=dict)
    regressions: list[str] = field(default_factory=list)
    reports: list[SyncRun] = field(default_factory=list)
    did: list[str] = field(default_factory=list)
    gone: int = 0
    engaged: int = 6
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def sandbox(self) -> RunningSandbox:
        """What serves the CRM."""
        return self.crm.sandbox

    # Trouble

    def script(self, *rules: dict[str, Any]) -> None:
        """Misbehave so from now on."""
        self.sandbox.control.faults = faults.parse(list(rules))

    def calm(self) -> None:
        """Behave, and keep still, we too."""
        self.script()
        self.engaged = 0
        self.on_request(None)

    def on_request(self, act: Any) -> None:
        """Call `act(number, path)` before each request for data, in the server's own thread."""
        control = self.sandbox.control
        plain, numbers = type(control).fault_for, count(1)

        def fault_for(method: str, path: str) -> Any:
            if act is not None and re.search(self.crm.everything, path):
                act(next(numbers), path)
            return plain(control, method, path)

        control.fault_for = fault_for  # type: ignore[method-assign]

    def busy(self, writes: int = 1) -> None:
        """People go on working: so many changes before each request."""
        self.on_request(lambda _number, _path: self.write(writes))

    def later(self, seconds: float = LATER) -> None:
        """Let the CRM's clock run on."""
        self.sandbox.clock.offset_seconds += seconds

    # The live writer

    def write(self, times: int = 1) -> None:
        """Make changes as people do."""
        for _ in range(times):
            self.did.append(self._write(self.rng.choices([*ACTIONS], [*ACTIONS.values()])[0]))

    def _write(self, action: str) -> str:
        live = self.crm.there()
        record_id = self.rng.choice(live)
        if action in ("delete", "merge") and self.gone >= GONE_AT_MOST:
            action = "update"
        match action:
            case "create":
                return f"create {self.newcomer()}"
            case "delete":
                self.delete(record_id)
                return f"delete {record_id}"
            case "restore" if archived := self.crm.there(archived=True):
                back = self.rng.choice(archived)
                with suppress(ConflictError):  # its address was taken meanwhile
                    self.restore(back)
                return f"restore {back}"
            case "merge" if len(live) > 1:
                other = self.rng.choice([one for one in live if one != record_id])
                self.merge(record_id, other)
                return f"merge {other} into {record_id}"
        return f"update {self.update(record_id)}"

    def newcomer(self, **values: Any) -> str:
        """A new record; its id."""
        number = next(self.numbers)
        named = {"first_name": "Nina", "last_name": f"New {number}", "email": f"new.{number}@example.com"}
        return self.crm.create({**named, "city": self.rng.choice(CITIES), **values})

    def update(self, record_id: str, modified: datetime | None = None, **values: Any) -> str:
        """Change a record's city, or these values under our names, and some more."""
        values = values or self.rng.choice(
            (
                {"city": f"{self.rng.choice(CITIES)} {next(self.numbers)}"},
                {"first_name": f"Name {next(self.numbers)}"},
                {"points": next(self.numbers)},
                {"newsletter": self._answer()},
            )
        )
        stamp = {} if modified is None else {"modified": modified.isoformat()}
        self.crm.edit(record_id, properties=self.crm.theirs(values), **stamp)
        self.hidden_changes.discard(record_id)
        return record_id

    def _answer(self) -> Any:
        said = self.rng.random() < 0.5
        return said if self.crm.kind != "hubspot" else str(said).lower()

    def delete(self, record_id: str) -> None:
        """Put a record into the recycle bin."""
        self.gone += 1
        if (
            self.crm.kind == "hubspot"
        ):  # who was merged into it is told by it alone, and it is not shown any more
            self.hidden_changes |= set(self.crm.rows()[record_id].merged)
        self.crm.edit(record_id, archived=True)
        self.hidden_changes.discard(record_id)

    def restore(self, record_id: str) -> None:
        """Take a record out of the recycle bin."""
        self.crm.edit(record_id, archived=False)
        if not self.crm.tells_restores:
            self.hidden_changes.add(record_id)

    def merge(self, winner: str, loser: str) -> None:
        """Fold one record into another."""
        self.gone += 1
        self.crm.edit(winner, merge=loser)
        self.hidden_changes -= {winner, loser}

    def erase(self, record_id: str, told: bool = False) -> None:
        """Delete a record for good; `told`: for privacy, and the CRM calls about it."""
        self.gone += 1
        self.crm.edit(record_id, erased=True)
        if told:
            self.erased.add(record_id)
            hints.add(self.connection, [Hint(self.crm.object, record_id, "erased")])
        else:
            self.hidden_changes.add(record_id)

    def score(self, record_ids: Sequence[str], score: int) -> None:
        """Our own work changes what is to be written back about these records."""
        mine = Identifier.objects.filter(
            kind=f"{self.connection.slug}:{self.crm.object}", value__in=record_ids
        )
        people = list(Profile.objects.filter(pk__in=mine.values("profile_id")))
        for profile in people:
            profile.attributes, profile.updated_at = {**profile.attributes, "score": score}, timezone.now()
        Profile.objects.bulk_update(people, ["attributes", "updated_at"])

    # Syncing

    def run(self, **options: Any) -> SyncRun:
        """One run, with what must hold after each of them."""
        self.connection.refresh_from_db()
        here = sorted(self.stamps)
        self.score(self.rng.sample(here, min(self.engaged, len(here))), len(self.reports) + 1)
        before = len(self.sandbox.control.journal)
        report = engine.run(self.connection, progress=lambda _run: self.note_stamps(), **options)
        self.connection.refresh_from_db()
        self.note_stamps()
        self.reports.append(report)
        report.requests = list(self.sandbox.control.journal)[before:]  # type: ignore[attr-defined]
        return report

    def note_stamps(self) -> None:
        """Remember how new each record was here, and which became older."""
        held = SourceRecord.objects.filter(
            connection=self.connection, object=self.crm.object, state=SourceRecord.State.LIVE
        )
        stamps = dict(held.values_list("record_id", "modified_at"))
        # A record that comes back from the recycle bin is as old as it was before.
        older = [name for name, at in stamps.items() if name in self.stamps and at < self.stamps[name]]
        self.regressions += [f"{name} went from {self.stamps[name]} back to {stamps[name]}" for name in older]
        self.stamps = stamps


@contextmanager
def world(
    kind: str, settings: Any, people: int = PEOPLE, seed: int = 1, vendors: Sequence[str] = ()
) -> Iterator[World]:
    """A sandbox with so many people, and a connection that has not read anything yet; other vendors may be beside."""
    with running_sandbox(people, seed, vendors=vendors or [kind]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        crm = CRMS[kind](sandbox)
        connection = setup.create(kind, kind.title(), kind, dict(crm.config), dict(crm.credentials))
        told = connection.mapping[crm.object]
        write = {name: value for name, value in told["write"].items() if value in WRITTEN}
        connection.mapping = {crm.object: {**told, "write": write}}
        connection.sweep_every_days = 0  # a comparison of all ids would hide what a run has lost
        connection.save(update_fields=["mapping", "sweep_every_days"])
        yield World(crm, connection, random.Random(f"{kind}/{seed}"))
