"""Streams of events to other systems, and the calls that carry them."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.fields import EncryptedJSONField
from crm.models.outlined import Outlined


class EventStream(models.Model):
    """Which events another system is told of, and how its latest answers were.

    `secret` holds `key` (base64), and after a change `before` with `until`, when that one ceases to sign. `why` says
    why a stream paused by itself. `message_ids` are numbers, so that a message that is deleted narrows the stream
    instead of widening it.
    """

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        FAILING = "failing", _("failing, tried again")
        PAUSED = "paused", _("paused")

    name = models.CharField(_("name"), max_length=100, unique=True)
    url = models.TextField(_("address"))
    names = ArrayField(models.TextField(), verbose_name=_("events"))
    api_only = models.BooleanField(_("only messages that the API asked for"), default=False)
    message_ids = ArrayField(models.BigIntegerField(), default=list, blank=True, verbose_name=_("messages"))
    tells_numbers = models.BooleanField(_("tell customer numbers"), default=False)
    secret = EncryptedJSONField(_("secret"), default=dict, editable=False)
    state = models.TextField(_("state"), choices=State, default=State.ACTIVE, editable=False)
    why = models.TextField(blank=True, default="", editable=False)
    last_status = models.PositiveIntegerField(_("last answer"), null=True, editable=False)
    last_error = models.TextField(blank=True, default="", editable=False)
    last_at = models.DateTimeField(_("last call"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("event stream")
        verbose_name_plural = _("event streams")
        ordering = ["name"]

    def __str__(self):
        return self.name


class StreamCall(Outlined):
    """Up to a hundred events on their way; its number is the webhook-id, the same however often it is made.

    `events` are kept only while they wait. `next_at` is when it is tried next, or when its present try counts as
    lost; only the first of a stream that waits is tried.
    """

    contact_data = {"events": "data", "error": "text"}

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        TAKEN = "taken", _("taken")
        FAILED = "failed", _("not taken")
        LEFT_OUT = "left_out", _("left out")

    stream = models.ForeignKey(
        EventStream, models.CASCADE, related_name="calls", db_index=False, verbose_name=_("event stream")
    )
    events = models.JSONField(_("events"), default=list)
    count = models.PositiveIntegerField(_("events"))
    trial = models.BooleanField(_("test"), default=False)
    state = models.TextField(_("state"), choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(_("tries"), default=0)
    began_at = models.DateTimeField(_("first tried"), null=True)
    next_at = models.DateTimeField(_("next try"), null=True)
    status_code = models.PositiveIntegerField(_("HTTP status"), null=True)
    error = models.TextField(_("error"), blank=True, default="")
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("call of an event stream")
        verbose_name_plural = _("calls of event streams")
        constraints = [
            models.CheckConstraint(
                condition=Q(state="waiting") | Q(finished_at__isnull=False, next_at=None),
                name="a_stream_call_waits_or_has_ended",
            ),
            models.CheckConstraint(
                condition=~Q(state="waiting") | Q(next_at__isnull=False), name="a_waiting_stream_call_is_due"
            ),
        ]
        indexes = [
            models.Index(fields=["stream", "id"], name="stream_call_by_stream"),
            models.Index(fields=["stream", "id"], condition=Q(state="waiting"), name="stream_call_waiting"),
            models.Index(
                fields=["finished_at"], condition=Q(finished_at__isnull=False), name="stream_call_finished"
            ),
        ]
