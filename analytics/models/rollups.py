"""What reports read: counts by day, kept in step with the facts."""

from django.db import models
from django.utils.translation import gettext_lazy as _


def _count() -> models.IntegerField:
    return models.IntegerField(default=0, db_default=0)


class DayFigures(models.Model):
    """What is counted of one series on one day of the account's time zone, in all or where `dimension` has `value`.

    The first columns are about messages sent on this day, whenever the rest happened; the next about what happened on
    this day, whenever the message was sent; the last about what was not sent. See analytics/rollups/columns.py.
    """

    pk = models.CompositePrimaryKey("generation", "dimension", "day", "series_id", "value")
    generation = models.IntegerField()
    dimension = models.TextField()
    day = models.DateField()
    series_id = models.BigIntegerField()
    value = models.TextField()

    sent = _count()
    delivered = _count()
    opened = _count()
    clicked = _count()
    dismissed = _count()
    read = _count()
    bounced = _count()
    complained = _count()
    unsubscribed = _count()
    lost = _count()
    machine_opened = _count()
    machine_clicked = _count()

    arrivals = _count()
    opens = _count()
    clicks = _count()
    dismissals = _count()
    reads = _count()
    bounces = _count()
    complaints = _count()
    unsubscribes = _count()
    losses = _count()
    machine_opens = _count()
    machine_clicks = _count()

    suppressed = _count()
    failed = _count()
    expired = _count()

    class Meta:
        verbose_name = _("figures of a day")
        verbose_name_plural = _("figures of days")
        default_permissions = ()


class AudienceDay(models.Model):
    """How many people there were on one day: a `measure` of analytics/rollups/audience.py, by channel or in all."""

    pk = models.CompositePrimaryKey("measure", "day", "channel")
    measure = models.TextField()
    day = models.DateField()
    channel = models.TextField()
    people = models.BigIntegerField()

    class Meta:
        verbose_name = _("audience of a day")
        verbose_name_plural = _("audience of days")
        default_permissions = ()


class CohortCell(models.Model):
    """How many of those who began something together came back that much later; see rollups/cohorts.py."""

    pk = models.CompositePrimaryKey("kind", "start", "later")
    kind = models.TextField()
    start = models.DateField()
    later = models.IntegerField()
    people = models.BigIntegerField()

    class Meta:
        verbose_name = _("people of a cohort")
        verbose_name_plural = _("people of cohorts")
        default_permissions = ()


class RollupState(models.Model):
    """Which generation of the figures counts, and how far the next one has come. There is one row.

    While the next generation is made, it holds the facts of all deliveries up to `position`, and the reader keeps
    that part of it in step. Before that, where it is wanted, the log is read anew up to where the reader is;
    `replay_txid` and `replay_seq` say how far that has come. Cohorts are counted apart, last at `cohorts_counted_at`.
    """

    class Stage(models.TextChoices):
        IDLE = "", _("up to date")
        LOG = "log", _("reading the event log")
        COUNTING = "counting", _("counting")
        TIDYING = "tidying", _("removing what was counted before")

    generation = models.IntegerField(default=1)
    zone = models.TextField()
    stage = models.TextField(choices=Stage, blank=True, default=Stage.IDLE)
    next_generation = models.IntegerField(null=True)
    next_zone = models.TextField(blank=True, default="")
    position = models.BigIntegerField(default=0)
    upto = models.BigIntegerField(default=0)
    replay_txid = models.BigIntegerField(null=True)
    replay_seq = models.BigIntegerField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cohorts_counted_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("state of the reports")
        verbose_name_plural = _("state of the reports")
        default_permissions = ()
