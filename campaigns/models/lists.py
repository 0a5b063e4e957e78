"""Work on lists of people that goes on in the background: filling them, and writing members into files."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.models.segments import Segment
from crm.models import Upload


class ListJob(models.Model):
    """One filling of a list, and how far it came: the first `position` rows are settled.

    `rows` = `added` (or `removed`, where people are to be taken off) + `known` + `rejected`; `known` needed no change.
    Where the list is replaced, `removed` are the others, of whom there is no row. Unless the people come from a file of
    names, `upload` holds their numbers, 8 bytes each; those of a rule or a segment are worked out first. `found`
    keeps whom the rows of a file meant, where all others are to go in the end.
    """

    class Kind(models.TextChoices):
        FILE = "file", _("file")
        PEOPLE = "people", _("chosen people")
        SEGMENT = "segment", _("segment")
        RULE = "rule", _("rule")

    class Mode(models.TextChoices):
        ADD = "add", _("add to the list")
        REMOVE = "remove", _("remove from the list")
        REPLACE = "replace", _("replace the list")

    class State(models.TextChoices):
        DRAFT = "draft", _("not started")
        RUNNING = "running", _("in work")
        DONE = "done", _("done")
        CANCELLED = "cancelled", _("cancelled")
        FAILED = "failed", _("failed")

    columns = models.JSONField(_("columns"), default=list, blank=True)  # of [column, what it tells]
    list = models.ForeignKey(Segment, models.CASCADE, related_name="list_jobs")
    kind = models.TextField(_("from"), choices=Kind)
    mode = models.TextField(_("what to do"), choices=Mode, default=Mode.ADD)
    name = models.TextField(_("file or segment"), blank=True, default="")
    upload = models.ForeignKey(Upload, models.SET_NULL, null=True, related_name="+")
    found = models.ForeignKey(Upload, models.SET_NULL, null=True, related_name="+")
    rule = models.JSONField(_("rule"), null=True, blank=True)
    encoding = models.TextField(_("encoding"), default="utf-8")
    create_unknown = models.BooleanField(_("make profiles of people nobody knows"), default=False)
    state = models.TextField(_("state"), choices=State, default=State.DRAFT)
    position = models.BigIntegerField(_("rows settled, unreadable ones included"), default=0)
    settled_bytes = models.BigIntegerField(_("bytes settled, about"), default=0)
    rows = models.BigIntegerField(_("rows"), default=0)
    added = models.BigIntegerField(_("added"), default=0)
    removed = models.BigIntegerField(_("removed"), default=0)
    known = models.BigIntegerField(_("no change"), default=0)
    created = models.BigIntegerField(_("new profiles"), default=0)
    rejected = models.BigIntegerField(_("rejected"), default=0)
    seconds = models.FloatField(_("seconds of work"), default=0)
    problem = models.TextField(_("problem"), blank=True, default="")
    started_by = models.TextField(_("by"), blank=True, default="")
    created_at = models.DateTimeField(_("asked for"), db_default=Now())
    worked_at = models.DateTimeField(_("last worked on"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("filling of a list")
        verbose_name_plural = _("fillings of lists")
        default_permissions = ()  # who may see or change the list may see or change this
        indexes = [
            models.Index(fields=["worked_at"], condition=models.Q(state="running"), name="list_jobs_in_work")
        ]

    def __str__(self):
        return self.name or self.get_kind_display()


class ListJobReject(models.Model):
    """One row of a file that names nobody to put on a list; `values` are its cells by column."""

    job = models.ForeignKey(ListJob, models.CASCADE, related_name="rejects")
    row = models.BigIntegerField(_("row"))
    code = models.TextField(_("code"))
    field = models.TextField(_("column"), blank=True, default="")
    detail = models.TextField(_("reason"))
    values = models.JSONField(_("row's content"), default=dict)

    class Meta:
        verbose_name = _("rejected row of a list")
        verbose_name_plural = _("rejected rows of lists")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["job", "row"], name="a_list_row_is_rejected_once")]


class MemberExport(models.Model):
    """A file with the members of a segment: written up to the profile `position`, gone after `expires_at`."""

    class State(models.TextChoices):
        RUNNING = "running", _("being written")
        DONE = "done", _("ready")
        CANCELLED = "cancelled", _("cancelled")
        FAILED = "failed", _("failed")
        EXPIRED = "expired", _("expired")

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="exports")
    columns = models.JSONField(_("columns"), default=list)
    state = models.TextField(_("state"), choices=State, default=State.RUNNING)
    position = models.BigIntegerField(default=0)
    rows = models.BigIntegerField(_("rows"), default=0)
    total = models.BigIntegerField(_("members when it began"), default=0)
    size = models.BigIntegerField(_("bytes"), default=0)
    seconds = models.FloatField(_("seconds of work"), default=0)
    problem = models.TextField(_("problem"), blank=True, default="")
    started_by = models.TextField(_("by"), blank=True, default="")
    created_at = models.DateTimeField(_("asked for"), db_default=Now())
    worked_at = models.DateTimeField(_("last worked on"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)
    expires_at = models.DateTimeField(_("kept until"), null=True)

    class Meta:
        verbose_name = _("export of members")
        verbose_name_plural = _("exports of members")
        default_permissions = ()  # who may export people may see and take this
        indexes = [
            models.Index(fields=["worked_at"], condition=models.Q(state="running"), name="exports_in_work")
        ]

    def __str__(self):
        return str(self.segment)


class ExportPart(models.Model):
    """Some lines of such a file, encrypted: the members from `first` to `last`, by their numbers.

    Without `content` its lines are made when the file is fetched: somebody in it was erased since.
    """

    export = models.ForeignKey(MemberExport, models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    content = models.BinaryField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["export", "number"], name="one_export_part_per_number")
        ]
