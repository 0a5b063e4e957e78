"""What an exported row holds, by django-import-export: profiles, products and rejected records.

Columns are called so that an import takes them back: attributes and answers by their full names, and with
"nudge_" in front what is only for looking at.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from django.core.exceptions import EmptyResultSet
from django.db import connection as database
from django.db.models import Prefetch, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from import_export.fields import Field
from import_export.resources import ModelResource
from import_export.widgets import Widget

from crm import connectors, tables
from crm.connectors.base import ConnectorError
from crm.connectors.file import ATTRIBUTE, CONSENT, REFERENCE, File
from crm.models import Connection, Consent, Identifier, Product, Profile, SyncReject
from crm.patches import FIELDS
from crm.table_writing import cell

CHUNK = 2_000  # rows read together
COLUMNS = 500  # of attributes; what is beyond goes into one column, as JSON
REST = f"{REFERENCE}more_attributes"
CRM_IDS, CONSENTS = "crm_ids", "consents"


class CellWidget(Widget):
    """A value as a cell."""

    def render(self, value: Any, obj: Any = None, **kwargs: Any) -> Any:
        """See crm.table_writing."""
        return cell(value)


class Column(Field):
    """A column that is made by a function of the row."""

    def __init__(self, name: str, read: Callable[[Any], Any]):
        super().__init__(column_name=name, widget=CellWidget(), readonly=True)
        self.read = read

    def get_value(self, instance: Any) -> Any:
        """What the function says."""
        return self.read(instance)


class Table(ModelResource):
    """The rows of a list as lines of a file.

    Args:
        rows: all that will be written, to learn which columns they need.
        parts: which of the class's `parts` to add.
    """

    parts: ClassVar[dict[str, tuple[Promise, Promise]]] = {}  # name -> label, what it is

    def __init__(self, rows: QuerySet, parts: Sequence[str] = ()):
        super().__init__()
        for field in self.fields.values():
            field.widget = CellWidget()
        self.chosen = [part for part in self.parts if part in parts]
        for column in self.columns(rows):
            self.fields[column.column_name] = column

    def columns(self, rows: QuerySet) -> Iterator[Column]:
        """Those that the model has no fields for."""
        yield from ()

    def with_related(self, rows: QuerySet) -> QuerySet:
        """With what the columns need, fetched for many rows at once."""
        return rows

    def complete(self, rows: list[Any]) -> None:
        """Add to rows that were read together what no prefetching can."""

    def iter_queryset(self, queryset: QuerySet) -> Iterator[Any]:
        """Row by row, CHUNK at a time behind the last id: no long transaction, and no query for each row."""
        rows, last = self.with_related(queryset).order_by("pk"), 0
        while True:
            page = list(rows.filter(pk__gt=last)[:CHUNK])
            if not page:
                return
            self.complete(page)
            yield from page
            last = page[-1].pk

    def lines(self, rows: QuerySet) -> Iterator[list[Any]]:
        """The header and the lines, as cells."""
        fields = self.get_export_fields()
        yield [tables.harmless(field.column_name) for field in fields]
        for row in self.iter_queryset(rows):
            yield [field.export(row) for field in fields]


def _keys(rows: QuerySet, field: str) -> list[str]:
    """The names in a JSON field of any of the rows, the first COLUMNS by the alphabet."""
    try:
        statement, values = rows.order_by().values(field).query.sql_with_params()
    except EmptyResultSet:
        return []
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT jsonb_object_keys(r.{field}) AS name FROM ({statement}) AS r "
            f"ORDER BY name LIMIT {COLUMNS + 1}",
            values,
        )
        return [name for (name,) in cursor.fetchall()]


def _attributes(rows: QuerySet) -> Iterator[Column]:
    names = _keys(rows, "attributes")
    for name in names[:COLUMNS]:
        yield Column(f"{ATTRIBUTE}{name}", lambda row, name=name: row.attributes.get(name))
    if len(names) > COLUMNS:
        shown = set(names[:COLUMNS])
        yield Column(
            REST, lambda row: {name: value for name, value in row.attributes.items() if name not in shown}
        )


def _for_looking(*names: str) -> Iterator[Column]:
    for name in names:
        yield Column(f"{REFERENCE}{name}", lambda row, name=name: getattr(row, name))


class ProfileTable(Table):
    """Everything about people that a list can hold."""

    parts = {
        CONSENTS: (
            _("Consents"),
            _("A column for each channel and topic: true, false, or empty if never asked."),
        ),
        CRM_IDS: (_("Ids in the CRMs"), _("A column for each connected CRM's records.")),
    }

    class Meta:
        model = Profile
        fields = export_order = FIELDS

    def columns(self, rows: QuerySet) -> Iterator[Column]:
        """Attributes, answers, ids in CRMs, times."""
        yield from _attributes(rows)
        self.kinds: list[str] = []
        if CONSENTS in self.chosen:
            for kind, key in Consent.objects.order_by("kind", "key").values_list("kind", "key").distinct():
                yield Column(
                    f"{CONSENT}{kind}.{key}", lambda profile, asked=(kind, key): profile.answers.get(asked)
                )
        if CRM_IDS in self.chosen:
            for connection in Connection.objects.exclude(state=Connection.State.DRAFT).order_by("slug"):
                for name in connection.mapping:
                    kind = f"{connection.slug}:{name}"
                    self.kinds.append(kind)
                    yield Column(
                        f"{REFERENCE}{connection.slug}_{name}",
                        lambda profile, kind=kind: " ".join(profile.record_ids.get(kind, ())) or None,
                    )
        yield from _for_looking("id", "first_seen", "last_seen", "created_at", "updated_at")

    def with_related(self, rows: QuerySet) -> QuerySet:
        """With answers and ids, if they are wanted."""
        if CONSENTS in self.chosen:
            rows = rows.prefetch_related(Prefetch("consents", to_attr="held_consents"))
        if CRM_IDS in self.chosen:
            ids = Identifier.objects.filter(kind__in=self.kinds).order_by("pk")
            rows = rows.prefetch_related(Prefetch("identifiers", ids, to_attr="held_ids"))
        return rows

    def complete(self, rows: list[Profile]) -> None:
        """Answers and ids by what they are about."""
        for profile in rows:
            profile.answers = {
                (held.kind, held.key): held.state == Consent.State.SUBSCRIBED
                for held in getattr(profile, "held_consents", ())
                if held.state != Consent.State.PENDING
            }
            profile.record_ids = {}
            for held in getattr(profile, "held_ids", ()):
                profile.record_ids.setdefault(held.kind, []).append(held.value)


class ProductTable(Table):
    """The catalogue."""

    class Meta:
        model = Product
        fields = export_order = (
            *("sku", "name", "category", "price", "currency", "stock"),
            *("active", "url", "image_url", "description"),
        )

    def columns(self, rows: QuerySet) -> Iterator[Column]:
        """Attributes, origin and times."""
        yield from _attributes(rows)
        yield from _for_looking("source", "created_at", "updated_at")


class RejectTable(Table):
    """Rejected records as they were received, with the reason: to be corrected and imported again.

    Of a file's row all columns are given, not only those that are taken, as long as the file still has it.
    """

    class Meta:
        model = SyncReject
        fields = ()

    def columns(self, rows: QuerySet) -> Iterator[Column]:
        """What came, then why it was refused."""
        names = dict.fromkeys([*self._file_columns(rows), *_keys(rows, "raw")])
        for name in list(names)[:COLUMNS]:
            yield Column(name, lambda reject, name=name: reject.raw.get(name))
        yield Column(f"{REFERENCE}reason", lambda reject: reject.detail)
        yield Column(f"{REFERENCE}field", lambda reject: reject.field)
        yield Column(f"{REFERENCE}row", lambda reject: reject.row)
        yield Column(f"{REFERENCE}connection", lambda reject: reject.connection.name)
        yield Column(f"{REFERENCE}record", lambda reject: f"{reject.object} {reject.record_id}")
        yield from _for_looking("attempts", "first_seen", "last_seen", "resolved_at")

    def _file_columns(self, rows: QuerySet) -> list[str]:
        files = Connection.objects.filter(kind=File.kind, pk__in=rows.order_by().values("connection"))
        return [field.name for connection in files for field in _fields(connection)]

    def with_related(self, rows: QuerySet) -> QuerySet:
        """With the connections."""
        return rows.select_related("connection")

    def complete(self, rows: list[SyncReject]) -> None:
        """The whole rows of files, and their numbers."""
        by_file: dict[Connection, dict[str, list[SyncReject]]] = {}
        for reject in rows:
            reject.row = None
            if reject.connection.kind == File.kind:
                found = by_file.setdefault(reject.connection, {})
                found.setdefault(reject.record_id, []).append(reject)
        for connection, wanted in by_file.items():
            for record_id, row in whole_rows(connection, wanted):
                for reject in wanted[record_id]:
                    reject.raw, reject.row = {**row.values, **_unclean(row)}, row.number


def _unclean(row: tables.Row) -> dict[str, str]:
    """Texts that are not in the chosen encoding, in a form that can be written."""
    return {
        name: value.encode("utf-8", "replace").decode()
        for name, value in row.values.items()
        if isinstance(value, str)
    }


def _fields(connection: Connection) -> Sequence[Any]:
    try:
        return connectors.connector(connection).fields("")
    except ConnectorError:
        return ()  # what was stored of the records will do


def whole_rows(connection: Connection, ids: Any) -> Iterator[tuple[str, tables.Row]]:
    """The rows of a file that became these records, as long as it is kept; nothing for other connections."""
    try:
        reader = connectors.connector(connection)
        if isinstance(reader, File):
            yield from reader.rows(ids)
    except ConnectorError:
        return
