"""The form to import a file: what is in it is looked at, and questions are asked only about what it leaves open."""

import codecs
import re
from collections.abc import Sequence
from itertools import islice
from typing import IO, Any

import msgspec
from django import forms
from django.core import signing
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm import tables, uploads
from crm.connectors.file import PEOPLE, PRODUCTS, SAMPLE, File, proposed_key
from crm.models import Connection, Upload

ENCODINGS = {
    "utf-8": gettext_lazy("UTF-8 (the usual one)"),
    "utf-16": gettext_lazy("UTF-16"),
    "cp1252": gettext_lazy("Windows, Western Europe"),
    "cp1250": gettext_lazy("Windows, Central Europe"),
    "cp1251": gettext_lazy("Windows, Cyrillic"),
    "cp1256": gettext_lazy("Windows, Arabic"),
    "shift_jis": gettext_lazy("Shift JIS, Japanese"),
}
ABOUT = {PEOPLE: gettext_lazy("People"), PRODUCTS: gettext_lazy("Products")}
SHOWN_ROWS, SHOWN_COLUMNS = 5, 8
PIECE = 1024 * 1024  # bytes
AROUND = 40  # characters on both sides of a garbled place that are shown
KEYS = ("external_id", "sku", "email", "phone")
SALT = "crm.import"
_BROKEN, _LETTER = re.compile("[\udc80-\udcff]"), re.compile("[^\x00-\x7f]")
READINGS = "reading"  # the buttons that offer other encodings


class Look(msgspec.Struct):
    """What is in a file.

    Args:
        garbled: how a piece of text that can't be read looks in other encodings: encoding, label, text.
        sample: cells of the first rows, of the first columns.
    """

    upload: Any
    columns: list[str] = []
    sample: list[list[Any]] = []
    more_columns: int = 0
    proposed: str = ""
    problem: str = ""
    garbled: list[tuple[str, Any, str]] = []
    excel: bool = False


def look(upload: Upload, encoding: str, about: str) -> Look:
    """Look into a file that is kept."""
    found = Look(upload, excel=upload.name.lower().endswith((".xlsx", ".xlsm")))
    try:
        with uploads.opened(upload) as file:
            if not found.excel:
                found.problem, found.garbled = _garbled(file, encoding)
            if found.problem:
                return found
            columns, lines = tables.read(file, upload.name, encoding)
            rows = list(islice(lines, SAMPLE))
    except tables.TableError as error:
        found.problem = str(error)
        return found
    if not rows:
        found.problem = _("The file has column names, but no rows.")
        return found
    found.columns = columns
    found.more_columns = max(0, len(columns) - SHOWN_COLUMNS)
    shown = columns[:SHOWN_COLUMNS]
    found.sample = [[row.values.get(name) for name in shown] for row in rows[:SHOWN_ROWS] if not row.problem]
    found.proposed = _key(upload, encoding, about, rows)
    return found


def _key(upload: Upload, encoding: str, about: str, rows: Sequence[tables.Row]) -> str:
    """The column to tell rows apart by: of those that are made for it the one that does so for most rows."""
    reader = File({"upload": upload.pk, "encoding": encoding}, {})
    fields = reader.fields(about)
    suggestion = reader.suggest(about, fields)
    sources = {target: name for name, target in suggestion.fields.items()}
    names = [sources[target] for target in KEYS if target in sources] or [proposed_key(fields, suggestion)]
    return max(names, key=lambda name: len({row.values.get(name) for row in rows} - {None}))


def _garbled(file: IO[bytes], encoding: str) -> tuple[str, list[tuple[str, Any, str]]]:
    """Why a CSV file's text can't be in this encoding, and how such a place looks in others; empty if it can be."""
    file.seek(0)
    head = file.read(PIECE)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "", []
    if b"\0" in head and encoding != "utf-16":
        return _("The text of this file seems to be in UTF-16."), []
    letters, broken, place = _as_utf8(file)
    if encoding == "utf-8":
        # A few broken places in a text that is UTF-8 otherwise are told row by row.
        if broken < letters or not broken:
            return "", []
    elif not broken and b"\0" not in head and (letters or encoding == "utf-16"):
        return _("The text of this file is in UTF-8."), []
    elif _decodes(file, encoding):
        return "", []
    readings = [
        (name, words, text)
        for name, words in ENCODINGS.items()
        if name not in (encoding, "utf-8", "utf-16") and (text := _reading(place, name))
    ]
    return _("Read as %s, the text is garbled.") % ENCODINGS[encoding], readings


def _as_utf8(file: IO[bytes]) -> tuple[int, int, bytes]:
    """Characters beyond ASCII, bytes that mean nothing, and the line around the first of those."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    letters = broken = 0
    place = ""
    file.seek(0)
    more = True
    while more:
        piece = file.read(PIECE)
        more = bool(piece)
        text = decoder.decode(piece, final=not more)
        first = None if text.isascii() else _BROKEN.search(text)
        if first and not broken:
            before, after = text[: first.start()][-AROUND:], text[first.start() :][:AROUND]
            place = before.rpartition("\n")[2] + after.partition("\n")[0]
        lost = len(_BROKEN.findall(text)) if first else 0
        broken += lost
        letters += 0 if text.isascii() else len(_LETTER.findall(text)) - lost
    return letters, broken, place.strip().encode("utf-8", "surrogateescape")


def _decodes(file: IO[bytes], encoding: str) -> bool:
    # Without a mark at its beginning, which was looked for, UTF-16 is in the byte order of Windows.
    decoder = codecs.getincrementaldecoder("utf-16-le" if encoding == "utf-16" else encoding)()
    file.seek(0)
    try:
        while piece := file.read(PIECE):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _reading(place: bytes, encoding: str) -> str:
    try:
        text = place.decode(encoding)
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() or "\t" in text else ""


class FileForm(forms.Form):
    """One page, asked twice: the file first, then what it can't tell by itself.

    A file that came once is kept, and named by a signature that only the same person's form can use.

    Args:
        user: whose upload it is.
        connection: into which a newer file goes, or a draft whose file is changed.
    """

    file = forms.FileField(required=False, allow_empty_file=True)
    kept = forms.CharField(required=False)
    encoding = forms.ChoiceField(choices=list(ENCODINGS.items()), required=False)
    about = forms.ChoiceField(choices=list(ABOUT.items()), required=False)
    key = forms.CharField(required=False, strip=False)
    name = forms.CharField(required=False, max_length=200)

    def __init__(
        self, user: Any, connection: Connection | None, about: str, data: Any = None, files: Any = None
    ):
        super().__init__(data, files)
        self.user, self.connection = user, connection
        self.started = connection is not None and connection.state != Connection.State.DRAFT
        self.default_about = about if about in ABOUT else PEOPLE
        self.look: Look | None = None

    @property
    def signer(self) -> signing.Signer:
        """Binds an upload to its person."""
        return signing.Signer(salt=f"{SALT}.{self.user.pk}")

    def clean_encoding(self) -> str:
        """That of the button that was pressed, else of the list, else the usual one."""
        pressed = self.data.get(READINGS, "")
        return pressed if pressed in ENCODINGS else self.cleaned_data["encoding"] or "utf-8"

    def clean_about(self) -> str:
        """What a connection is about can't change once it was started."""
        if self.started and self.connection:
            return next(iter(self.connection.mapping), PEOPLE)
        return self.cleaned_data["about"] or self.default_about

    def clean_name(self) -> str:
        """One that is free."""
        name = self.cleaned_data["name"].strip()
        others = Connection.objects.exclude(pk=self.connection.pk if self.connection else None)
        if name and others.filter(name=name).exists():
            raise forms.ValidationError(_("There is a connection of this name already."))
        return name

    def clean(self) -> dict[str, Any]:
        """Keep the file, and look into it."""
        data = super().clean()
        upload = self._upload(data)
        if upload is None:
            if "file" not in self.errors:
                self.add_error("file", _("Choose a file."))
            return data
        found = self.look = look(upload, data.get("encoding", "utf-8"), data.get("about", PEOPLE))
        if found.problem:
            self.add_error(None, found.problem)
        elif self.started and self.connection and self.connection.config["key"] not in found.columns:
            self.add_error(
                None,
                _("This file has no column “%s”, by which the rows of this import are known.")
                % self.connection.config["key"],
            )
        elif data.get("key") and data["key"] not in found.columns:
            self.add_error("key", _("The file has no such column."))
        return data

    def _upload(self, data: dict[str, Any]) -> Upload | None:
        sent = data.get("file")
        if sent:
            if sent.size > uploads.LIMIT:
                self.add_error("file", too_large())
                return None
            try:
                return uploads.keep(sent.name, sent.chunks(), self.user.get_username())
            except uploads.UploadError as error:
                self.add_error("file", str(error))
                return None
        try:
            number = self.signer.unsign(data.get("kept", ""))
        except signing.BadSignature:
            return None
        return Upload.objects.filter(pk=number).first()

    @property
    def kept_value(self) -> str:
        """What names the kept file in the page."""
        return self.signer.sign(str(self.look.upload.pk)) if self.look else ""

    @property
    def chosen(self) -> dict[str, str]:
        """What the page shows as chosen."""
        held = self.connection.config if self.connection else {}
        data = getattr(self, "cleaned_data", {})
        mapped = next(iter(self.connection.mapping), "") if self.connection else ""
        return {
            "encoding": data.get("encoding") or held.get("encoding") or "utf-8",
            "about": data.get("about") or mapped or self.default_about,
            "key": data.get("key") or (self.look.proposed if self.look else held.get("key", "")),
            "name": data.get("name") or (self.connection.name if self.connection else self._free_name()[0]),
        }

    def _free_name(self) -> tuple[str, str]:
        """A name and a slug that are free, by the file's name."""
        stem = self.look.upload.name.rsplit(".", 1)[0].strip()[:100] if self.look else ""
        base, root = stem or str(File.label), slugify(stem)[:40] or "file"
        names = set(Connection.objects.values_list("name", flat=True))
        slugs = set(Connection.objects.values_list("slug", flat=True))
        number, name, slug = 1, base, root
        while name in names or slug in slugs:
            number += 1
            name, slug = f"{base} {number}", f"{root}-{number}"
        return name, slug

    def identity(self) -> tuple[str, str]:
        """Name and slug for a new connection."""
        name, slug = self._free_name()
        return self.cleaned_data["name"] or name, slug

    def config(self) -> dict[str, Any]:
        """The connector's settings."""
        key = self.connection.config["key"] if self.started and self.connection else self.chosen["key"]
        return {"upload": self.look.upload.pk, "key": key, "encoding": self.cleaned_data["encoding"]}


def too_large() -> str:
    """That a file is beyond what is kept."""
    return _("The file is larger than %d MB; split it.") % (uploads.LIMIT // 1024**2)
