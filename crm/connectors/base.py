"""What every CRM connector is: it fetches records and translates them, page by page, and does nothing else.

Queueing, saving, checkpoints, rejected rows and reports belong to `crm.sync`. A new CRM is one file here:
a subclass of Connector with the `register` decorator, and a test class that inherits the conformance suite
(tests/crm/connectors/conformance.py).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _

Mode = Literal["incremental", "full"]
FieldKind = Literal["text", "choice", "number", "boolean", "date", "datetime", "list"]


class ConnectorError(Exception):
    """The CRM can't be read. The message is a sentence for the operator: what happened and what to do.

    Args:
        retry_minutes: how long to leave the CRM alone, if it said so (an exhausted daily budget).
    """

    def __init__(self, message: str, retry_minutes: int | None = None):
        super().__init__(message)
        self.retry_minutes = retry_minutes


class Field(msgspec.Struct, frozen=True):
    """One field of a CRM object. `kind` tells how a connector's records show its values:

    text, choice (str), number (int or float), boolean (bool), date, datetime (ISO 8601 str), list (of str).
    """

    name: str
    label: str
    kind: FieldKind
    custom: bool = False


class Record(msgspec.Struct):
    """One CRM record as of `modified_at` (for a deleted one: when it was deleted).

    `fields` holds the fields that were asked for, None where the CRM holds nothing.
    """

    id: str
    modified_at: datetime
    fields: dict[str, Any] = {}
    deleted: bool = False


class Page(msgspec.Struct):
    """Some records, and the JSON-able cursor from which to go on once they are stored.

    Args:
        expected: how many records the run will see in all, where the CRM tells.
        current: read from the CRM's store itself, not from an index that may lag behind it.
    """

    object: str
    records: list[Record]
    cursor: dict[str, Any]
    expected: int | None = None
    current: bool = False


class Suggestion(msgspec.Struct):
    """A proposed mapping: CRM field -> profile field or attributes.<name>, and CRM field -> consent rule."""

    fields: dict[str, str] = {}
    consent: dict[str, dict[str, Any]] = {}


class Connector:
    """One account of one CRM.

    Args:
        config: JSON of `Config`; credentials: JSON of `Credentials`.

    Raises:
        ConnectorError: they do not fit the structs.
    """

    do_not_call_in_templates = True  # Django's templates would try to make an instance of the class
    kind: ClassVar[str]
    label: ClassVar[Any]
    Config: ClassVar[type[msgspec.Struct]]
    Credentials: ClassVar[type[msgspec.Struct]]
    Form: ClassVar[type[forms.Form]]  # its fields carry the names of Config's and Credentials' fields
    object: ClassVar[str]
    config: Any
    credentials: Any

    def __init__(self, config: dict[str, Any], credentials: dict[str, Any]):
        try:
            self.config = msgspec.convert(config, self.Config)
            self.credentials = msgspec.convert(credentials, self.Credentials)
        except msgspec.ValidationError as error:
            # The error names the field, never its value.
            raise ConnectorError(_("The connection's settings are incomplete: %s.") % error) from None

    def test(self) -> str:
        """Try the credentials; say in a sentence what was found. ConnectorError if they do not work."""
        raise NotImplementedError

    def fields(self) -> list[Field]:
        """The object's fields as they are now; a CRM's fields come and go."""
        raise NotImplementedError

    def suggest(self, fields: Sequence[Field]) -> Suggestion:
        """A mapping to start from."""
        raise NotImplementedError

    def pages(self, cursor: dict[str, Any], mode: Mode, names: Sequence[str]) -> Iterator[Page]:
        """What changed since `cursor`, or in mode "full" everything; deletions included.

        An empty cursor means everything. A page may repeat records; it never skips one. After the last page
        its cursor is where the next run begins.

        Args:
            names: the fields to fetch; they exist.
        """
        raise NotImplementedError

    def read(self, ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """The records with these ids that still exist, as they are now."""
        raise NotImplementedError
