"""A CSV or Excel file of people or products, read like a CRM: same mapping, same rejects, same reports.

A row is known by its key column. Importing a newer file into the same connection changes only what differs;
a row that is no longer in the file says nothing.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, timedelta
from itertools import islice
from typing import Any, ClassVar

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from crm import normalise, tables, uploads
from crm.connectors import register
from crm.connectors.base import (
    Connector,
    ConnectorError,
    Field,
    FieldKind,
    Mode,
    ObjectType,
    Page,
    Record,
    Suggestion,
)
from crm.models import Upload

PEOPLE, PRODUCTS = "people", "products"
BATCH = 1_000
# How our own exports call columns: attributes and answers by their names, and what is only for looking at.
ATTRIBUTE, CONSENT, REFERENCE = "attributes.", "consent.", "nudge_"
SAMPLE = 500  # rows looked at to tell what a column holds
YES, NO = {"yes", "true", "y", "t"}, {"no", "false", "n", "f"}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,10})?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# What columns are called in many exports, folded to letters and digits.
NAMES = {
    "email": ("email", "emailaddress", "mail", "username"),
    "phone": ("phone", "phonenumber", "mobile", "mobilephone", "telephone"),
    "first_name": ("firstname", "givenname", "forename"),
    "last_name": ("lastname", "surname", "familyname"),
    "external_id": ("externalid", "customerid", "customernumber", "userid"),
    "language": ("language", "locale", "lang"),
    "timezone": ("timezone", "tz"),
    "country": ("country", "countrycode"),
    "city": ("city", "town"),
    "birthday": ("birthday", "birthdate", "dateofbirth", "dob"),
    "lifecycle_stage": ("lifecyclestage", "stage"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng"),
}
PRODUCT_NAMES = {
    "sku": ("sku", "productnumber", "productcode", "productid", "id"),
    "name": ("name", "title", "productname"),
    "price": ("price", "unitprice"),
    "currency": ("currency",),
    "stock": ("stock", "quantity", "inventory", "qty"),
    "category": ("category", "producttype"),
    "description": ("description",),
    "url": ("url", "link", "page"),
    "image_url": ("imageurl", "image", "imagelink"),
    "active": ("active", "forsale"),
}
CONSENTS = {
    "webpush": ("webpushoptin", "pushoptin"),
    "email": ("emailoptin", "emailconsent"),
    "sms": ("smsoptin", "smsconsent"),
}


class FileConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`upload` is the key of the stored file, `key` the column by which a row is known."""

    upload: int
    key: str = ""
    encoding: str = "utf-8"


class FileCredentials(msgspec.Struct, forbid_unknown_fields=True):
    """A file needs none."""


class FileForm(forms.Form):
    """What can be changed about a file's reading."""

    encoding = forms.ChoiceField(
        label=gettext_lazy("Encoding of a CSV file"), choices=[(name, name) for name in tables.ENCODINGS]
    )


@register
class File(Connector):
    """One uploaded file."""

    kind, label = "file", gettext_lazy("CSV or Excel file")
    Config, Credentials, Form = FileConfig, FileCredentials, FileForm
    objects: ClassVar = (
        ObjectType(PEOPLE, gettext_lazy("People"), "person", chosen=True),
        ObjectType(PRODUCTS, gettext_lazy("Products"), "product"),
    )
    complete = False
    scheduled = False
    starts_at = "admin:crm_connection_import"
    config: FileConfig

    def test(self) -> str:
        """See Connector."""
        with self._table() as (columns, rows, _upload):
            count = sum(1 for _row in rows)
        sentence = ngettext("The file has %(rows)d row", "The file has %(rows)d rows", count)
        return (sentence + _(" and %(columns)d columns.")) % {"rows": count, "columns": len(columns)}

    def fields(self, object_name: str) -> list[Field]:
        """See Connector. What a column holds is told by its first rows."""
        with self._table() as (columns, rows, _upload):
            sample = [row.values for row in islice(rows, SAMPLE)]
        return [Field(name, name, _kind([row[name] for row in sample])) for name in columns]

    def suggest(self, object_name: str, fields: Sequence[Field]) -> Suggestion:
        """See Connector. Columns are known by their usual names; the rest become attributes."""
        known = NAMES if object_name == PEOPLE else PRODUCT_NAMES
        chosen: dict[str, str] = {}
        consent: dict[str, dict[str, Any]] = {}
        for field in fields:
            if field.name.startswith(REFERENCE):
                continue
            question = _question(field) if object_name == PEOPLE else None
            if question:
                consent[field.name] = question
                continue
            folded = re.sub(r"[^a-z0-9]", "", field.name.lower())
            target = next((name for name, spellings in known.items() if folded in spellings), None)
            channel = next((name for name, spellings in CONSENTS.items() if folded in spellings), None)
            if target and target not in chosen.values():
                chosen[field.name] = target
            elif channel and object_name == PEOPLE and field.kind == "boolean":
                consent[field.name] = {"kind": "channel", "key": channel}
            elif field.name.startswith(ATTRIBUTE) and field.name != ATTRIBUTE:
                chosen[field.name] = field.name
            elif folded and len(field.name) <= normalise.ATTRIBUTE_NAME_LIMIT:
                chosen[field.name] = f"attributes.{_attribute_name(field.name)}"
        by_target = {target: name for name, target in reversed(chosen.items())}
        return Suggestion({name: target for target, name in reversed(by_target.items())}, consent)

    def pages(
        self, object_name: str, cursor: dict[str, Any], mode: Mode, names: Sequence[str]
    ) -> Iterator[Page]:
        """See Connector. Rows of a file that was read to its end come again only in mode "full"."""
        kinds = {field.name: field.kind for field in self.fields(object_name)}
        with self._table() as (_columns, rows, upload):
            same = cursor.get("upload") == upload.pk
            done = cursor["row"] if same and (mode == "incremental" or not cursor.get("end")) else 0
            rows = (row for row in rows if row.number > done)
            total = self._count() if not done else None
            while True:
                batch = list(islice(rows, BATCH))
                place = {"upload": upload.pk, "row": batch[-1].number if batch else done}
                done = place["row"]
                records = [self._record(row, upload, kinds, names) for row in batch]
                if len(batch) < BATCH:
                    cursor = {**place, "end": True}
                    yield Page(object_name, records, cursor, total, current=True, until=upload.uploaded_at)
                    return
                yield Page(object_name, records, place, total, current=True)

    def read(self, object_name: str, ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """See Connector."""
        kinds = {field.name: field.kind for field in self.fields(object_name)}
        wanted = set(ids)
        with self._table() as (_columns, rows, upload):
            records = (self._record(row, upload, kinds, names) for row in rows)
            return list({record.id: record for record in records if record.id in wanted}.values())

    def ids(self, object_name: str) -> Iterator[list[str]]:
        """See Connector."""
        for page in self.pages(object_name, {}, "full", []):
            yield [record.id for record in page.records if not record.problem]

    def rows(self, ids: Collection[str]) -> Iterator[tuple[str, tables.Row]]:
        """The rows that became these records, whole, each with its record's id.

        Raises:
            ConnectorError: the file can't be read.
        """
        with self._table() as (_columns, rows, _upload):
            for row in rows:
                record_id, _problem = self._identity(row)
                if record_id in ids:
                    yield record_id, row

    @contextmanager
    def _table(self) -> Iterator[tuple[list[str], Iterator[tables.Row], Upload]]:
        upload = Upload.objects.filter(pk=self.config.upload).first()
        if upload is None:
            raise ConnectorError(_("The file is no longer kept; upload it again."))
        with uploads.opened(upload) as file:
            try:
                columns, rows = tables.read(file, upload.name, self.config.encoding)
                yield columns, rows, upload
            except tables.TableError as error:
                raise ConnectorError(str(error)) from None

    def _count(self) -> int:
        with self._table() as (_columns, rows, _upload):
            return sum(1 for _row in rows)

    def _record(
        self, row: tables.Row, upload: Upload, kinds: dict[str, FieldKind], names: Sequence[str]
    ) -> Record:
        fields = {name: _typed(row.values.get(name), kinds.get(name, "text")) for name in names}
        # Of two rows with one key the later one counts.
        modified_at = upload.uploaded_at.astimezone(UTC) + timedelta(microseconds=row.number)
        record_id, problem = self._identity(row)
        return Record(record_id, modified_at, fields, problem=problem)

    def _identity(self, row: tables.Row) -> tuple[str, str]:
        """The id of a row's record, in no language, and why it can't be taken at all."""
        key = row.values.get(self.config.key) if self.config.key else None
        if row.problem:
            return f"row {row.number}", row.problem
        if key is None or not str(key).strip() or len(str(key)) > normalise.IDENTIFIER_LIMIT:
            problem = _("The column “%s” tells the rows apart, and this row has nothing usable there.")
            return f"row {row.number}", problem % self.config.key
        text = str(key).strip()
        return text.lower() if "@" in text else text, ""


def _question(field: Field) -> dict[str, Any] | None:
    """The question that a column of answers is about, if it is called as our exports do."""
    about, _dot, key = field.name.removeprefix(CONSENT).partition(".")
    asked = field.name.startswith(CONSENT) and about in ("channel", "topic") and key
    return {"kind": about, "key": key} if asked else None


def _attribute_name(column: str) -> str:
    return re.sub(r"[^\w]+", "_", column.strip().lower()).strip("_") or column


def _kind(values: Sequence[Any]) -> FieldKind:
    """What a column holds, by its values; text in doubt."""
    held = [str(value).strip() for value in values if value is not None]
    if not held:
        return "text"
    if all(value.lower() in YES | NO for value in held):
        return "boolean"
    if all(_NUMBER.fullmatch(value) for value in held):
        return "number"  # no leading zeros, few enough digits: those are numbers, not names made of digits
    if all(_DATE.fullmatch(value) for value in held):
        return "date"
    if all(_json(value) is not None for value in held):
        return "list"
    return "text"


def _typed(value: Any, kind: FieldKind) -> Any:
    if value is None or not isinstance(value, str):
        return value
    text = value.strip()
    if kind == "boolean":
        return True if text.lower() in YES else False if text.lower() in NO else value
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if kind == "list":
        found = _json(text)
        return text or None if found is None else found
    return text or None


def _json(text: str) -> list[Any] | dict[str, Any] | None:
    """The list or object that a text is in JSON, as our exports write them."""
    if not text.startswith(("[", "{")):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None


def proposed_key(fields: Sequence[Field], suggestion: Suggestion) -> str:
    """The column that most likely tells rows apart: a number of their own, else the email."""
    for target in ("external_id", "sku", "email", "phone"):
        for name, chosen in suggestion.fields.items():
            if chosen == target:
                return name
    return fields[0].name if fields else ""
