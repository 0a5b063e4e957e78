"""The event log: everything people did and everything we did to them."""

import uuid

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.outlined import Outlined
from crm.models.profiles import Profile


class Event(Outlined):
    """One thing that happened to one person.

    The table is range-partitioned by month on `occurred_at` (migration 0002), so its unique key is
    (id, occurred_at). `txid` and `seq` give readers an order without gaps: see crm/log.py. `clock` tells why
    `occurred_at` is not the time that the sender told.
    """

    contact_data = {"properties": "data"}

    class Clock(models.TextChoices):
        MISSING = "missing", _("no time was told, so it is the time of arrival")
        AHEAD = "ahead", _("the time told was still to come, so it is the time of arrival")
        CORRECTED = "corrected", _("the sender's clock was wrong by a constant, which is set right")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    seq = models.BigIntegerField(editable=False)
    txid = models.BigIntegerField(editable=False)
    profile = models.ForeignKey(
        Profile, models.DO_NOTHING, db_constraint=False, related_name="events", verbose_name=_("profile")
    )
    name = models.TextField(_("name"))
    occurred_at = models.DateTimeField(_("happened"))
    received_at = models.DateTimeField(_("received"))
    properties = models.JSONField(_("properties"))
    source = models.TextField(_("source"))
    clock = models.TextField(_("clock"), choices=Clock, default="", blank=True)

    class Meta:
        managed = False
        db_table = "crm_event"
        verbose_name = _("event")
        verbose_name_plural = _("events")

    def __str__(self):
        return self.name


class UndatedEvent(models.Model):
    """The id of an event that came without a usable time of its own.

    The log's unique key contains the time, which we choose for such an event, so a repeated id would be
    stored twice; this row remembers it. Rows older than the longest retry are swept.
    """

    id = models.UUIDField(primary_key=True)
    received_at = models.DateTimeField(db_default=Now(), db_index=True)


class ClosedMonth(models.Model):
    """A month whose events were taken out of the log; what still comes for it is refused."""

    month = models.DateField(primary_key=True, help_text=_("Its first day."))
    closed_at = models.DateTimeField(db_default=Now())
    archive = models.TextField(blank=True, help_text=_("The table that keeps its events, if one does."))


class LogCursor(models.Model):
    """How far one reader of the event log has come."""

    name = models.TextField(primary_key=True)
    txid = models.BigIntegerField(default=0)
    seq = models.BigIntegerField(default=0)
    moved_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("log cursor")
        verbose_name_plural = _("log cursors")
