"""Connected CRMs, their sync runs and what could not be taken."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.fields import EncryptedJSONField
from crm.models.outlined import Outlined


class Connection(models.Model):
    """One connected CRM account."""

    class State(models.TextChoices):
        DRAFT = "draft", _("not started yet")  # crm.sync.drafts; nothing reads it before it is started
        ACTIVE = "active", _("active")
        PAUSED = "paused", _("paused")

    kind = models.TextField(_("CRM"))
    name = models.TextField(_("name"), unique=True)
    slug = models.SlugField(_("short name"), unique=True)
    config = models.JSONField(_("settings"), default=dict, blank=True)
    credentials = EncryptedJSONField(_("credentials"), default=dict, blank=True)
    # By object: crm.sync.mapping.Mapping. The objects named here are the ones that are read.
    mapping = models.JSONField(_("field mapping"), default=dict, blank=True)
    # By object: its connector's cursor.
    cursor = models.JSONField(_("position"), default=dict, blank=True, editable=False)
    # By object: the fields that the CRM had at the last run, to tell what came, went or changed its type.
    schema = models.JSONField(default=dict, blank=True, editable=False)
    # What the connector remembers of its subscription to calls from the CRM.
    watch = models.JSONField(default=dict, blank=True, editable=False)
    state = models.TextField(_("state"), choices=State, default=State.ACTIVE)
    interval_minutes = models.PositiveIntegerField(_("minutes between syncs"), default=2)
    next_sync_at = models.DateTimeField(_("next sync"), null=True, blank=True, editable=False)
    # Everything that the CRM knew at this time, by its clock, is here.
    synced_until = models.DateTimeField(_("complete up to"), null=True, blank=True, editable=False)
    swept_at = models.DateTimeField(_("last complete comparison"), null=True, blank=True, editable=False)
    sweep_every_days = models.PositiveIntegerField(
        _("days between complete comparisons"),
        default=7,
        help_text=_("Compares all record ids with the CRM's, to find deletions that it never reported."),
    )
    # Changes of profiles up to here were looked at for writing back.
    written_until = models.DateTimeField(null=True, editable=False)
    # Until then a person has agreed that many records may be deleted here at once.
    deletions_allowed_until = models.DateTimeField(null=True, blank=True, editable=False)
    # When the CRM last called about changes, to the minute.
    called_at = models.DateTimeField(_("last call from the CRM"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("CRM connection")
        verbose_name_plural = _("CRM connections")

    def __str__(self):
        return self.name


class AccessToken(models.Model):
    """The present access token of a connection whose CRM gives tokens that expire."""

    connection = models.OneToOneField(Connection, models.CASCADE, primary_key=True, related_name="+")
    token = EncryptedJSONField(default=dict)  # crm.connectors.tokens.Token


class SyncHint(models.Model):
    """A record that the CRM told us to look at; the next run reads it by its id and forgets this."""

    connection = models.ForeignKey(Connection, models.CASCADE, related_name="hints")
    object = models.TextField()
    record_id = models.TextField()
    kind = models.TextField()  # crm.connectors.base.Hint
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("hint of a CRM")
        verbose_name_plural = _("hints of CRMs")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "object", "record_id"], name="one_hint_per_crm_record"
            )
        ]


class SyncRun(models.Model):
    """One pass over a CRM's changes, with what came of each record."""

    class Mode(models.TextChoices):
        INCREMENTAL = "incremental", _("changes since the last run")
        FULL = "full", _("everything")

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        SUCCEEDED = "succeeded", _("succeeded")
        FAILED = "failed", _("failed")

    connection = models.ForeignKey(
        Connection, models.CASCADE, related_name="runs", verbose_name=_("connection")
    )
    mode = models.TextField(_("mode"), choices=Mode, default=Mode.INCREMENTAL)
    state = models.TextField(_("state"), choices=State, default=State.QUEUED)
    queued_at = models.DateTimeField(_("queued"), db_default=Now())
    started_at = models.DateTimeField(_("started"), null=True)
    beat_at = models.DateTimeField(_("last progress"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    expected = models.IntegerField(_("expected"), null=True)
    read = models.IntegerField(_("read"), default=0)
    created = models.IntegerField(_("created"), default=0)
    updated = models.IntegerField(_("updated"), default=0)
    unchanged = models.IntegerField(_("unchanged"), default=0)
    rejected = models.IntegerField(_("rejected"), default=0)
    merged = models.IntegerField(_("merged"), default=0)
    deleted = models.IntegerField(_("deleted"), default=0)
    held = models.IntegerField(_("deletions held back"), default=0)
    written = models.IntegerField(_("written back"), default=0)
    sweep = models.BooleanField(_("with a complete comparison"), default=False)
    calls = models.IntegerField(_("calls to the CRM"), default=0)
    budget_used = models.IntegerField(_("calls counted by the CRM"), null=True)
    budget_limit = models.IntegerField(_("calls allowed by the CRM"), null=True)
    lag_seconds = models.FloatField(_("lag in seconds"), null=True)
    cursor_before = models.JSONField(_("position before"), default=dict)
    cursor_after = models.JSONField(_("position after"), default=dict)
    error = models.TextField(_("error"), blank=True, default="")
    notes = models.TextField(_("worth knowing"), blank=True, default="")
    requested_by = models.TextField(
        _("requested by"), blank=True, default="", help_text=_("Empty: the schedule.")
    )

    class Meta:
        verbose_name = _("sync run")
        verbose_name_plural = _("sync runs")
        constraints = [
            models.UniqueConstraint(
                fields=["connection"],
                condition=models.Q(state="running"),
                name="one_running_sync_per_connection",
            )
        ]
        indexes = [
            models.Index(fields=["connection", "-queued_at"], name="sync_run_latest"),
            # Looked for every few seconds among all the reports.
            models.Index(fields=["connection"], condition=models.Q(state="queued"), name="sync_run_queued"),
        ]

    def __str__(self):
        return f"{self.connection} {self.pk}"


class SourceRecord(models.Model):
    """What we last took from one CRM record; which profile it became is told by its Identifier."""

    class State(models.TextChoices):
        LIVE = "live", _("live")
        DELETED = "deleted", _("deleted")
        MISSING = "missing", _("no longer visible")
        MERGED = "merged", _("merged into another")
        ERASED = "erased", _("erased for privacy")

    # Without an index of its own: the constraint's begins with it, and PostgreSQL must not choose the poorer one.
    connection = models.ForeignKey(Connection, models.CASCADE, related_name="records", db_index=False)
    object = models.TextField(_("object"))
    record_id = models.TextField(_("record"))
    modified_at = models.DateTimeField(_("changed in the CRM"))
    content_hash = models.BinaryField(editable=False)
    # Which mapped profile fields were empty: only what this record once filled may it clear.
    empty = ArrayField(models.TextField(), default=list)
    # The CRM's last answers to consent questions, to tell a changed answer from a repeated one.
    consent = models.JSONField(default=dict)
    state = models.TextField(_("state"), choices=State, default=State.LIVE)
    merged_into = models.TextField(
        _("merged into"), default="", db_default="", blank=True
    )  # the winner's record id
    # What it became here where no Identifier tells: a product's number.
    local = models.TextField(default="", db_default="", blank=True)
    synced_at = models.DateTimeField(_("taken"), db_default=Now())

    class Meta:
        verbose_name = _("CRM record")
        verbose_name_plural = _("CRM records")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "object", "record_id"], name="one_row_per_crm_record"
            )
        ]


class SyncReject(Outlined):
    """One CRM record that could not be taken, with the reason; it is tried again with the next runs."""

    contact_data = {"record_id": "id", "detail": "text", "raw": "values"}

    connection = models.ForeignKey(
        Connection, models.CASCADE, related_name="rejects", verbose_name=_("connection")
    )
    run = models.ForeignKey(
        SyncRun, models.SET_NULL, null=True, related_name="rejects", verbose_name=_("run")
    )
    object = models.TextField(_("object"))
    record_id = models.TextField(_("record"))
    code = models.TextField(_("code"))
    field = models.TextField(_("field"), blank=True, default="")
    detail = models.TextField(_("reason"))
    raw = models.JSONField(_("record as received"))
    attempts = models.PositiveIntegerField(_("attempts"), default=1)
    first_seen = models.DateTimeField(_("first seen"), db_default=Now())
    last_seen = models.DateTimeField(_("last seen"), db_default=Now())
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)

    class Meta:
        verbose_name = _("rejected record")
        verbose_name_plural = _("rejected records")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "object", "record_id"], name="one_reject_per_crm_record"
            )
        ]

    def __str__(self):
        return f"{self.object} {self.record_id}"


class WrittenRecord(Outlined):
    """What was last written back into one CRM record, so that only differences are sent."""

    contact_data = {"record_id": "id", "values": "values"}

    connection = models.ForeignKey(Connection, models.CASCADE, related_name="+")
    object = models.TextField()
    record_id = models.TextField()
    profile_id = models.BigIntegerField(db_index=True)
    values = models.JSONField(default=dict)  # CRM field -> value as sent
    error = models.TextField(_("why it was refused"), default="", blank=True)
    due_at = models.DateTimeField(null=True)  # something may have changed; None: up to date
    written_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("record written back")
        verbose_name_plural = _("records written back")
        indexes = [
            models.Index(
                fields=["connection", "object", "due_at"],
                condition=models.Q(due_at__isnull=False),
                name="written_record_due",
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "object", "record_id"], name="one_written_row_per_crm_record"
            )
        ]


class OutgoingActivity(models.Model):
    """One event that waits to be put on a CRM record's timeline."""

    connection = models.ForeignKey(Connection, models.CASCADE, related_name="+")
    object = models.TextField()
    record_id = models.TextField()
    event_id = models.UUIDField()
    name = models.TextField()
    occurred_at = models.DateTimeField()
    properties = models.JSONField(default=dict)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(_("why it was refused"), default="", blank=True)

    class Meta:
        verbose_name = _("event for a CRM")
        verbose_name_plural = _("events for CRMs")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "object", "record_id", "event_id"],
                name="one_activity_per_event_and_record",
            )
        ]


class CrmPurchase(models.Model):
    """The purchase that a CRM's deal, opportunity or order was recorded as, to correct or cancel it later."""

    connection = models.ForeignKey(Connection, models.CASCADE, related_name="+")
    object = models.TextField()
    record_id = models.TextField()
    profile_id = models.BigIntegerField()
    event_id = models.UUIDField()
    occurred_at = models.DateTimeField()
    properties = models.JSONField(default=dict)  # as the log has them, corrections included
    cancelled = models.BooleanField(default=False)
    corrections = models.IntegerField(default=0)

    class Meta:
        verbose_name = _("purchase of a CRM")
        verbose_name_plural = _("purchases of CRMs")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "object", "record_id"], name="one_purchase_per_crm_record"
            )
        ]
