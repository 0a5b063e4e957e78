"""Files of events that are taken in piece by piece."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.uploads import Upload


class EventFile(models.Model):
    """One file of events, and how far it was taken: everything before byte `position` is settled.

    `rows` = `stored` + `known` + `rejected`. `mapping` says which columns are the name, the time and the person;
    empty: each line is an event as in the API.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("not started")
        RUNNING = "running", _("being imported")
        DONE = "done", _("imported")
        CANCELLED = "cancelled", _("cancelled")
        FAILED = "failed", _("failed")

    class Format(models.TextChoices):
        CSV = "csv", "CSV"
        JSONL = "jsonl", "JSONL"

    upload = models.ForeignKey(Upload, models.SET_NULL, null=True, related_name="event_files")
    name = models.TextField(_("file"))
    format = models.TextField(_("format"), choices=Format)
    encoding = models.TextField(_("encoding"), default="utf-8")
    digest = models.TextField(_("SHA-256"))
    size = models.BigIntegerField(_("bytes"))
    mapping = models.JSONField(_("columns"), default=dict, blank=True)
    state = models.TextField(_("state"), choices=State, default=State.DRAFT)
    position = models.BigIntegerField(_("bytes settled"), default=0)
    line = models.BigIntegerField(_("rows settled, empty ones included"), default=0)
    rows = models.BigIntegerField(_("rows"), default=0)
    stored = models.BigIntegerField(_("stored"), default=0)
    known = models.BigIntegerField(_("known before"), default=0)
    rejected = models.BigIntegerField(_("rejected"), default=0)
    seconds = models.FloatField(_("seconds of work"), default=0)
    problem = models.TextField(_("problem"), blank=True, default="")
    created_by = models.TextField(_("imported by"), blank=True, default="")
    created_at = models.DateTimeField(_("uploaded"), db_default=Now())
    worked_at = models.DateTimeField(_("last worked on"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("file of events")
        verbose_name_plural = _("files of events")
        permissions = [("import_event", _("Can import events"))]

    def __str__(self):
        return self.name


class EventFileReject(models.Model):
    """One row of a file that was not taken. `values` are its cells, or its text alone where it has none."""

    file = models.ForeignKey(EventFile, models.CASCADE, related_name="rejects")
    row = models.BigIntegerField(_("row"))
    code = models.TextField(_("code"))
    field = models.TextField(_("field"))
    detail = models.TextField(_("reason"))
    values = models.JSONField(_("row's content"), default=list)

    class Meta:
        verbose_name = _("rejected row")
        verbose_name_plural = _("rejected rows")
        constraints = [models.UniqueConstraint(fields=["file", "row"], name="a_row_is_rejected_once")]
