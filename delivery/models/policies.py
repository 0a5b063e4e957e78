"""When and how often people are written to, what was sent to them lately, and the switch that stops everything."""

from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models import Topic
from delivery.models.messages import Message

EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)


class SendingRules(models.Model):
    """The rules of one level: of the account (neither topic nor message), of a topic, or of a message.

    What a level says nothing about is for the wider one to say: message, then topic, then account. Without hours of
    its own a level says that there are none by `own_quiet` or `own_windows`. Limits of all levels count together,
    unless a level says that it stands alone.
    """

    class WhenCapped(models.TextChoices):
        WIDER = "", _("as the wider rules say")
        DEFER = "defer", _("wait until there is room, the urgent first, until it expires")
        SKIP = "skip", _("not sent")

    class Collision(models.TextChoices):
        WIDER = "", _("as the wider rules say")
        OFF = "off", _("send it all the same")
        OPENED = "opened", _("skip it if they opened or clicked it there")
        SENT = "sent", _("skip it if it was sent, opened or clicked there")

    topic = models.OneToOneField(
        Topic, models.CASCADE, null=True, blank=True, related_name="sending_rules", verbose_name=_("topic")
    )
    message = models.OneToOneField(
        Message,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="sending_rules",
        verbose_name=_("message"),
    )
    own_quiet = models.BooleanField(
        _("no quiet hours but those below"),
        default=False,
        help_text=_(
            "Quiet hours below take the place of the wider rules' in any case; tick this to have none."
        ),
    )
    own_windows = models.BooleanField(
        _("no send windows but those below"),
        default=False,
        help_text=_(
            "Send windows below take the place of the wider rules' in any case; tick this to have none."
        ),
    )
    only_own_caps = models.BooleanField(
        _("only the limits below count"),
        default=False,
        help_text=_("Otherwise those of the wider rules count as well."),
    )
    when_capped = models.TextField(_("at a limit"), choices=WhenCapped, blank=True, default=WhenCapped.WIDER)
    collision = models.TextField(
        _("the same by another channel"), choices=Collision, blank=True, default=Collision.WIDER
    )
    collision_hours = models.PositiveSmallIntegerField(
        _("within so many hours"),
        default=24,
        validators=[MinValueValidator(1), MaxValueValidator(720)],
    )
    adults_only = models.BooleanField(
        _("for adults only"), default=False, help_text=_("Minors get nothing of it.")
    )
    adult_age = models.PositiveSmallIntegerField(
        _("of age with"),
        default=18,
        validators=[MinValueValidator(1), MaxValueValidator(99)],
        help_text=_("Years; on the person's birthday where they live."),
    )
    skip_unknown_age = models.BooleanField(
        _("unknown ages count as minors"),
        default=True,
        help_text=_("Who has told no birthday gets nothing that is for adults only."),
    )
    global_holdout_percent = models.PositiveSmallIntegerField(
        _("held out of everything"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(50)],
        help_text=_(
            "Percent of people who get no marketing at all, always the same ones, to show what all of it brings."
        ),
    )
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("sending rules")
        verbose_name_plural = _("sending rules")
        constraints = [
            models.CheckConstraint(
                condition=Q(topic__isnull=True) | Q(message__isnull=True), name="rules_are_of_one_level"
            ),
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(topic__isnull=True, message__isnull=True),
                name="one_set_of_rules_of_the_account",
            ),
        ]

    def __str__(self):
        if self.message_id:
            return str(_("Sending rules of the message “%s”") % self.message)
        if self.topic_id:
            return str(_("Sending rules of the topic “%s”") % self.topic)
        return str(_("Sending rules"))

    @property
    def level(self) -> str:
        """One of "account", "topic" and "message"."""
        return "message" if self.message_id else "topic" if self.topic_id else "account"

    @classmethod
    def of_account(cls) -> Any:
        """The account's rules; made when they are first asked for."""
        rules, _made = cls.objects.get_or_create(topic=None, message=None)
        return rules


class SendingHours(models.Model):
    """Hours of the day in which nothing goes out, or in which alone it does, by the clock where the person is.

    Hours whose end is not after their start reach into the next day and belong to the weekday they begin on.
    """

    class Kind(models.TextChoices):
        QUIET = "quiet", _("nothing goes out")
        WINDOW = "window", _("only then it goes out")

    rules = models.ForeignKey(SendingRules, models.CASCADE, related_name="hours")
    kind = models.TextField(_("what"), choices=Kind, default=Kind.QUIET)
    start = models.TimeField(_("from"))
    end = models.TimeField(_("until"))
    days = ArrayField(models.SmallIntegerField(), verbose_name=_("weekdays"))
    channel = models.TextField(_("channel"), blank=True, default="")

    class Meta:
        verbose_name = _("hours")
        verbose_name_plural = _("hours")
        ordering = ["kind", "start", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(days__contained_by=list(EVERY_DAY)) & ~Q(days=[]), name="hours_have_weekdays"
            )
        ]


class FrequencyCap(models.Model):
    """At most so many messages to one person in a period.

    Of the account it counts all messages, or those about each topic apart; of a topic those about it; of a message
    that message. `spares` lets the most urgent priorities, 1 to that number, through; they count all the same.
    """

    class Period(models.TextChoices):
        HOUR = "hour", _("hour")
        DAY = "day", _("day")
        WEEK = "week", _("week")
        MONTH = "month", _("month")

    class Counts(models.TextChoices):
        ALL = "all", _("all together")
        TOPIC = "topic", _("each topic apart")

    class Spares(models.IntegerChoices):
        NOBODY = 0, _("none")
        FIRST = 1, _("urgent (1)")
        SECOND = 2, _("urgent and high (1–2)")
        THIRD = 3, _("all but low (1–3)")
        FOURTH = 4, _("all but the lowest (1–4)")

    rules = models.ForeignKey(SendingRules, models.CASCADE, related_name="caps")
    number = models.PositiveSmallIntegerField(
        _("at most"), validators=[MinValueValidator(1), MaxValueValidator(1000)]
    )
    period = models.TextField(_("per"), choices=Period, default=Period.WEEK)
    rolling = models.BooleanField(
        _("rolling"),
        default=True,
        help_text=_("The last so many hours at any moment; otherwise the calendar's, where the person is."),
    )
    channel = models.TextField(_("channel"), blank=True, default="")
    counts = models.TextField(_("counting"), choices=Counts, default=Counts.ALL)
    spares = models.PositiveSmallIntegerField(_("lets through"), choices=Spares, default=Spares.NOBODY)

    class Meta:
        verbose_name = _("limit")
        verbose_name_plural = _("limits")
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(condition=Q(number__gte=1), name="a_limit_lets_something_through"),
            models.CheckConstraint(condition=Q(spares__lte=4), name="a_limit_holds_for_somebody"),
        ]


class Place(models.Model):
    """One message that counts under its person's limits, from the moment it was let through.

    Whether it still counts is the delivery's to say: one that did not go out after all does not. There is no foreign
    key to the profile on purpose: letting a message through must not wait for a merge of the profile, which waits for
    the deliveries that the dispatcher holds.
    """

    delivery_id = models.BigIntegerField(primary_key=True)
    profile_id = models.BigIntegerField()
    taken_at = models.DateTimeField()
    channel = models.TextField()
    topic = models.TextField()
    message_id = models.BigIntegerField()
    content_group = models.TextField()
    thread = models.TextField()

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(fields=["profile_id", "-taken_at"], name="place_by_profile"),
            models.Index(fields=["taken_at"], name="place_by_time"),
        ]


class PlaceLock(models.Model):
    """What a dispatcher locks while it counts a person's messages, so that no other one counts them at that moment."""

    profile_id = models.BigIntegerField(primary_key=True)

    class Meta:
        default_permissions = ()


class EmergencyStop(models.Model):
    """While it is there, nothing leaves by the channel, or by none if the channel is empty."""

    channel = models.TextField(_("channel"), blank=True, default="", unique=True)
    reason = models.TextField(_("reason"), blank=True, default="")
    pressed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("pressed by")
    )
    pressed_at = models.DateTimeField(_("since"), db_default=Now())

    class Meta:
        verbose_name = _("emergency stop")
        verbose_name_plural = _("emergency stops")
        default_permissions = ()
        permissions = [("stop_sending", _("Can stop all sending and let it go on"))]
