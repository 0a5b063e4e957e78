"""One message to everybody in a segment, and how far writing to them has come."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.models.segments import Segment
from delivery.models import Delivery, Message


class Broadcast(models.Model):
    """One message to the people who are in a segment, and in none of the excluded ones, when its time has come.

    A repeating one sends nothing by itself: at each of its times it makes a broadcast of its own, with `origin` and
    `occurrence` telling which. `day` and `time` are on the clocks of the account, or on each person's.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        SCHEDULED = "scheduled", _("scheduled")
        REPEATING = "repeating", _("repeating")
        EXPANDING = "expanding", _("queueing")
        SENDING = "sending", _("sending")
        PAUSED = "paused", _("paused")
        CANCELLED = "cancelled", _("cancelled")
        FINISHED = "finished", _("finished")

    class When(models.TextChoices):
        NOW = "now", _("at once")
        AT = "at", _("at a time")
        LOCAL = "local", _("at a time in each person's own zone")
        BEST = "best", _("at each person's best hour")

    class Repeat(models.TextChoices):
        NEVER = "", _("never")
        DAILY = "daily", _("every day")
        WEEKLY = "weekly", _("on days of the week")
        MONTHLY = "monthly", _("on a day of the month")

    class Route(models.TextChoices):
        PREFERRED = "preferred", _("The channel that suits each person")
        FIRST = "first", _("The first channel that reaches them")
        CHEAPEST = "cheapest", _("The cheapest channel that reaches them")

    BUSY = (State.EXPANDING, State.SENDING)
    OVER = (State.CANCELLED, State.FINISHED)

    name = models.TextField(_("name"))
    message = models.ForeignKey(Message, models.PROTECT, related_name="broadcasts", verbose_name=_("message"))
    segment = models.ForeignKey(Segment, models.PROTECT, related_name="broadcasts", verbose_name=_("segment"))
    exclusions = models.ManyToManyField(
        Segment,
        related_name="+",
        blank=True,
        verbose_name=_("but nobody in"),
        db_table="campaigns_broadcast_exclusion",
    )
    channel = models.TextField(_("channel"), default="webpush")
    when = models.TextField(_("when"), choices=When, default=When.NOW, db_default=When.NOW)
    day = models.DateField(_("day"), null=True, blank=True)
    time = models.TimeField(_("time"), null=True, blank=True)
    repeat = models.TextField(
        _("repeat"), choices=Repeat, default=Repeat.NEVER, db_default=Repeat.NEVER, blank=True
    )
    weekdays = ArrayField(
        models.SmallIntegerField(), verbose_name=_("weekdays"), default=list, db_default=[], blank=True
    )
    last_day = models.DateField(_("last day"), null=True, blank=True)
    per_minute = models.PositiveIntegerField(
        _("messages per minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("At most so many; empty for as fast as possible."),
    )
    priority = models.SmallIntegerField(
        _("priority"),
        default=3,
        db_default=3,
        validators=[MinValueValidator(1), MaxValueValidator(5)],
        help_text=_("1 goes first, 5 last."),
    )
    when_limited = models.TextField(
        _("in quiet hours or at a limit"),
        choices=Delivery.WhenLimited,
        default=Delivery.WhenLimited.DEFER,
        db_default=Delivery.WhenLimited.DEFER,
    )
    holdout_percent = models.PositiveSmallIntegerField(
        _("held out"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(90)],
        help_text=_("Percent of people who do not get it, always the same ones, to show what it brings."),
    )
    state = models.TextField(_("state"), choices=State, default=State.DRAFT, editable=False)
    paused_from = models.TextField(default="", db_default="", editable=False)
    releasing = models.BooleanField(default=False, db_default=False, editable=False)
    problem = models.TextField(_("problem"), default="", db_default="", editable=False)
    starts_at = models.DateTimeField(_("starts"), null=True, editable=False)
    next_slot = models.DateTimeField(null=True, editable=False)
    audience = models.PositiveIntegerField(_("audience"), null=True, editable=False)
    launched_at = models.DateTimeField(_("launched"), null=True, editable=False)
    launched_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)
    origin = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="occurrences",
        verbose_name=_("repeats"),
    )
    occurrence = models.DateTimeField(_("occurrence"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("broadcast")
        verbose_name_plural = _("broadcasts")
        permissions = [("launch_broadcast", "Can launch broadcasts")]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state__in=["expanding", "sending", "finished"])
                | Q(audience__isnull=False, launched_at__isnull=False)
                | ~Q(repeat=""),
                name="a_started_broadcast_has_an_audience",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["scheduled", "repeating"]) | Q(starts_at__isnull=False),
                name="what_waits_for_its_time_has_one",
            ),
            models.UniqueConstraint(fields=["origin", "occurrence"], name="one_broadcast_per_occurrence"),
        ]
        indexes = [
            models.Index(
                fields=["state"],
                condition=Q(state__in=["scheduled", "repeating", "expanding", "sending", "paused"])
                | Q(state="cancelled", finished_at=None),
                name="broadcast_unfinished",
            )
        ]

    def __str__(self):
        return self.name


class BroadcastPiece(models.Model):
    """Some of the people of a broadcast, as they were when its time had come; queued together or not at all.

    `first` is how many come before them. Of the `size` people `queued` got a delivery: the others were removed before,
    or merged with somebody who gets it. Their numbers are dropped as soon as they are not needed any more.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        QUEUED = "queued"
        CANCELLED = "cancelled"

    broadcast = models.ForeignKey(Broadcast, models.CASCADE, related_name="pieces")
    first = models.PositiveIntegerField()
    size = models.PositiveIntegerField()
    profile_ids = ArrayField(models.BigIntegerField())
    state = models.TextField(choices=State, default=State.WAITING)
    queued = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["broadcast", "first"], name="pieces_do_not_overlap")]
        indexes = [
            models.Index(
                fields=["broadcast", "first"], condition=Q(state="waiting"), name="broadcast_pieces_left"
            )
        ]
