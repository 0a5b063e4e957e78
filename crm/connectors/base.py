"""What every CRM connector is: it fetches records and translates them, page by page, and does nothing else.

Queueing, saving, checkpoints, rejected rows and reports belong to `crm.sync`. A new CRM is one file here:
a subclass of Connector with the `register` decorator, and a test class that inherits the conformance suite
(tests/crm/connectors/conformance.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _

from crm.connectors.tokens import Tokens

Mode = Literal["incremental", "full"]
FieldKind = Literal["text", "choice", "number", "boolean", "date", "datetime", "list"]
Role = Literal["person", "purchase", "product"]


class ConnectorError(Exception):
    """The CRM can't be read. The message is a sentence for the operator: what happened and what to do.

    Args:
        retry_minutes: how long to leave the CRM alone, if it said so (an exhausted daily budget).
    """

    def __init__(self, message: str, retry_minutes: int | None = None):
        super().__init__(message)
        self.retry_minutes = retry_minutes


class ObjectType(msgspec.Struct, frozen=True):
    """One kind of record that a connector reads, and what its records become here.

    Args:
        name: the connector's own word, such as "contacts"; part of identifiers, so it never changes.
        role: a person becomes a profile, a purchase an event of that person, a product a catalogue entry.
        chosen: whether a new connection reads it unless told otherwise.
    """

    name: str
    label: Any
    role: Role
    chosen: bool = False


class Field(msgspec.Struct, frozen=True):
    """One field of a CRM object. `kind` tells how a connector's records show its values:

    text, choice (str), number (int or float), boolean (bool), date, datetime (ISO 8601 str), list (of str).

    `writable` says whether values may be written back into it; `volatile` that it changes without the
    record's modified time (a formula), so that only a full resync sees every change.
    """

    name: str
    label: str
    kind: FieldKind
    custom: bool = False
    writable: bool = False
    volatile: bool = False


class Record(msgspec.Struct):
    """One CRM record as of `modified_at` (for a deleted one: when it was deleted).

    Args:
        fields: the fields that were asked for, None where the CRM holds nothing.
        deleted: it is gone, or in the recycle bin.
        erased: it was deleted for privacy and must never return. Implies `deleted`.
        merged_into: the record's id that it was merged into, where the CRM tells it on the loser. Implies `deleted`.
        absorbed: ids of the records that were merged into this one, where the CRM tells it on the winner.
        people: whom a purchase belongs to, the likeliest first: (object, record id) of person records.
        problem: why it can't be taken at all, as a sentence; the record is rejected with it.
    """

    id: str
    modified_at: datetime
    fields: dict[str, Any] = {}
    deleted: bool = False
    erased: bool = False
    merged_into: str | None = None
    absorbed: Sequence[str] = ()
    people: Sequence[tuple[str, str]] = ()
    problem: str = ""


class Page(msgspec.Struct):
    """Some records of one object, and the JSON-able cursor from which to go on once they are stored.

    Args:
        cursor: the object's own. With "gap": true after the last page it says that the CRM can no longer tell all
            deletions since the run before; then all ids are compared.
        expected: how many records the run will see of this object in all, where the CRM tells.
        current: read from the CRM's store itself, not from an index that may lag behind it.
        until: on the last page, the time by the CRM's clock up to which everything is known now.
    """

    object: str
    records: list[Record]
    cursor: dict[str, Any]
    expected: int | None = None
    current: bool = False
    until: datetime | None = None


class Suggestion(msgspec.Struct):
    """A proposed mapping, as the JSON parts of `crm.sync.mapping.Mapping`."""

    fields: dict[str, str] = {}
    consent: dict[str, dict[str, Any]] = {}
    won: dict[str, Any] | None = None
    write: dict[str, str] = {}


class Change(msgspec.Struct):
    """Values to write into one CRM record. A datetime is an aware datetime, None clears a field."""

    id: str
    values: dict[str, Any]


class Activity(msgspec.Struct):
    """One thing a person did here, for the CRM's timeline. The CRM drops one whose `id` (a UUID) it has already."""

    id: str
    record_id: str
    name: str
    occurred_at: datetime
    properties: dict[str, Any] = {}


class Budget(msgspec.Struct, frozen=True):
    """Calls used and allowed in the CRM's own counting period, as its last answer told."""

    used: int
    limit: int


class Hint(msgspec.Struct, frozen=True):
    """That a record should be looked at now. Never data: whatever it says is read again by id.

    `erased` is believed only if the record can't be read any more.
    """

    object: str
    record_id: str
    kind: Literal["changed", "deleted", "erased"] = "changed"


class HookRequest(msgspec.Struct):
    """A call from outside, as it arrived.

    Args:
        url: the public address that was called, with its query.
        headers: by lower-case name.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


class HookAnswer(msgspec.Struct):
    """The hints in a call, and what to reply with status 200."""

    hints: list[Hint]
    body: bytes = b""
    content_type: str = "text/plain"


class HookRefused(Exception):
    """The call is not the CRM's: a wrong signature or token, a stale time, or not to be understood."""


class Connector:
    """One account of one CRM.

    Args:
        config: JSON of `Config`; credentials: JSON of `Credentials`.
        tokens: where access tokens that expire are kept; default: in this object only.

    Raises:
        ConnectorError: they do not fit the structs.
    """

    do_not_call_in_templates = True  # Django's templates would try to make an instance of the class
    kind: ClassVar[str]
    label: ClassVar[Any]
    Config: ClassVar[type[msgspec.Struct]]
    Credentials: ClassVar[type[msgspec.Struct]]
    Form: ClassVar[type[forms.Form]]  # its fields carry the names of Config's and Credentials' fields
    objects: ClassVar[tuple[ObjectType, ...]]
    write_batch: ClassVar[int] = 0  # records that `write` takes at once; 0: nothing can be written back
    takes_activities: ClassVar[bool] = False
    erase_batch: ClassVar[int] = 0  # records of people that `erase` takes at once; 0: it can erase nobody
    # Fields of Config that say which account it is; with another one its records are others.
    identity_fields: ClassVar[tuple[str, ...]] = ()
    complete: ClassVar[bool] = True  # a record that it doesn't list is gone; a file says nothing about others
    scheduled: ClassVar[bool] = True  # it is asked again and again; a file has nothing new to tell by itself
    starts_at: ClassVar[str] = ""  # URL name of the page where setting it up begins; default: its form
    hook_help: ClassVar[Any] = ""  # how to set up calls from the CRM; empty: it makes none
    config: Any
    credentials: Any
    hurried = False  # somebody waits for the first page: no way that prepares everything before
    calls = 0  # requests made so far
    budget: Budget | None = None

    def __init__(self, config: dict[str, Any], credentials: dict[str, Any], tokens: Tokens | None = None):
        try:
            self.config = msgspec.convert(config, self.Config)
            self.credentials = msgspec.convert(credentials, self.Credentials)
        except msgspec.ValidationError as error:
            # The error names the field, never its value.
            raise ConnectorError(_("The connection's settings are incomplete: %s.") % error) from None
        self.tokens = tokens or Tokens()

    @classmethod
    def object_type(cls, name: str) -> ObjectType:
        """The object called `name`; KeyError if there is none."""
        for found in cls.objects:
            if found.name == name:
                return found
        raise KeyError(name)

    def test(self) -> str:
        """Try the credentials; say in a sentence what was found. ConnectorError if they do not work."""
        raise NotImplementedError

    def account(self) -> str:
        """The CRM's own number of the account that the credentials lead to; empty if it can't be told.

        Asked once for any credentials: record ids mean something only within one account.
        """
        return ""

    def fields(self, object_name: str) -> list[Field]:
        """The object's fields as they are now; a CRM's fields come and go."""
        raise NotImplementedError

    def suggest(self, object_name: str, fields: Sequence[Field]) -> Suggestion:
        """A mapping to start from."""
        raise NotImplementedError

    def pages(
        self, object_name: str, cursor: dict[str, Any], mode: Mode, names: Sequence[str]
    ) -> Iterator[Page]:
        """What changed since `cursor`, or in mode "full" everything; deletions and merges included.

        An empty cursor means everything. A page may repeat records; it never skips one. After the last page
        its cursor is where the next run begins. A cursor in the middle of a full read goes on with it.

        Args:
            names: the fields to fetch; they exist.
        """
        raise NotImplementedError

    def read(self, object_name: str, ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """The records with these ids that still exist, as they are now; under their own ids, whatever was asked.

        A record that the CRM shows as merged away is given as such.
        """
        raise NotImplementedError

    def ids(self, object_name: str) -> Iterator[list[str]]:
        """The ids of all records that exist now, in batches, by the cheapest way there is."""
        raise NotImplementedError

    def write(self, object_name: str, changes: Sequence[Change]) -> list[str | None]:
        """Write at most `write_batch` records; per change None or a sentence why it was refused.

        Writing the same twice does no harm.
        """
        raise NotImplementedError

    def send(self, object_name: str, activities: Sequence[Activity]) -> list[str | None]:
        """Add to the CRM's timeline; per activity None or a sentence why it was refused."""
        raise NotImplementedError

    def erase(self, object_name: str, ids: Sequence[str]) -> list[str | None]:
        """Delete at most `erase_batch` records of people by the surest way the CRM has.

        Per record None (also if there is none any more: it may be asked for twice) or a sentence why it was refused.
        """
        raise NotImplementedError

    def hook(self, request: HookRequest) -> HookAnswer:
        """Check a call from the CRM and say which records it is about. HookRefused if it isn't the CRM's."""
        raise HookRefused

    def watch(self, url: str, state: dict[str, Any], now: datetime) -> dict[str, Any]:
        """Ask the CRM to call `url` about changes, or renew that; the state to be given next time.

        Called at every run; a CRM whose calls are set up by hand needs nothing here.
        """
        return state
