"""What the storing of a CRM's records needs to know, and what each role tells of its records.

A role (person, purchase, product) is a module with two functions, both in the caller's transaction:

    store(batch, items) -> one Outcome per item
    remove(batch, records): these are gone in the CRM; `crm.sync.apply` remembers that they are
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from crm.connectors.base import Record
from crm.models import Connection, SourceRecord, SyncRun
from crm.normalise import Rejection
from crm.profiles import State
from crm.sync.mapping import Mapping


class Known(msgspec.Struct, gc=False):
    """What is remembered of a CRM record; see SourceRecord."""

    modified_at: datetime
    content_hash: bytes
    state: str
    empty: list[str]
    consent: dict[str, bool]
    merged_into: str = ""
    local: str = ""

    @property
    def live(self) -> bool:
        """Whether it was there when it was last seen."""
        return self.state == SourceRecord.State.LIVE


class Batch(msgspec.Struct):
    """Some records of one object of one connection, stored in one transaction.

    Args:
        kind: of the Identifiers of these records.
    """

    run: SyncRun
    connection: Connection
    object: str
    kind: str
    mapping: Mapping
    now: datetime


class Item(msgspec.Struct, gc=False):
    """A record that is there and is news; `known` is None if it was never seen."""

    record: Record
    known: Known | None
    content_hash: bytes


class Outcome(msgspec.Struct):
    """What became of an item.

    Args:
        rejection: why it was rejected.
        empty, consent, local: what SourceRecord shall remember.
    """

    state: State
    rejection: Rejection | None = None
    empty: Sequence[str] = ()
    consent: dict[str, bool] = {}
    local: str = ""

    def __post_init__(self):
        if self.rejection is not None:
            # The frames in its traceback hold all records of the batch, and itself: such a ring is freed late.
            self.rejection.__traceback__ = self.rejection.__context__ = None


class Handler(msgspec.Struct, frozen=True):
    """A role's functions. `prepare` sees all records before any is looked up, and returns how many it merged."""

    store: Callable[[Batch, Sequence[Item]], list[Outcome]]
    remove: Callable[[Batch, Sequence[Record]], None]
    prepare: Callable[[Batch, Sequence[Record]], int] | None = None
