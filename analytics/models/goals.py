"""What counts as success, and which messages have the credit for it."""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

LONGEST_WINDOW = 24 * 366  # hours
SEEN_CHANNELS = ("webpush", "inapp", "push", "email", "sms", "whatsapp")


class MadeGoals(models.Manager["Goal"]):
    """The goals that people have made."""

    def get_queryset(self) -> models.QuerySet["Goal"]:
        """All but messages' own."""
        return super().get_queryset().filter(own=False)


class Goal(models.Model):
    """An event that people are led to, how long before it a message counts, and what it is worth.

    The one that is `own` stands for the goals that messages have themselves: an event reaches it for the messages
    whose goal it is, each within its own hours and with the amount that it names. `own_rules` is what of messages its
    credits were last made by.

    `recompute_from` is the first moment whose credits are being made anew, None where they are up to date;
    `recomputed_upto` says how far that has come and `recompute_last` how far it goes. `counted_in` is the account's
    currency that amounts were converted into.
    """

    class Model(models.TextChoices):
        LAST_CLICK = "last_click", _("last click")
        LAST_TOUCH = "last_touch", _("last open or click")
        FIRST_TOUCH = "first_touch", _("first open or click")
        LINEAR = "linear", _("all alike")
        POSITION = "position", _("by position: 40 % first, 40 % last, 20 % between")
        VIEW_THROUGH = "view_through", _("last seen, without a click")

    class Counting(models.TextChoices):
        EVERY = "every", _("every time")
        ONCE = "once", _("once per person: the first time")

    slug = models.SlugField(_("short name"), unique=True, help_text=_("In the API and in files."))
    name = models.CharField(_("name"), max_length=100)
    event = models.TextField(_("event"), help_text=_("Somebody reaches the goal when this happens."))
    where = models.JSONField(_("only where"), default=list, blank=True)
    value_property = models.TextField(
        _("property with the amount"),
        blank=True,
        default="total",
        help_text=_("Nested ones are written like order.total. Empty: the goal has no amount."),
    )
    currency_property = models.TextField(_("property with the currency"), blank=True, default="currency")
    currency = models.CharField(
        _("currency where the event tells none"),
        max_length=3,
        blank=True,
        default="",
        help_text=_("Three letters, like EUR. Empty: the account's."),
    )
    click_hours = models.PositiveIntegerField(
        _("hours after a click that count"),
        default=72,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_WINDOW)],
    )
    open_hours = models.PositiveIntegerField(
        _("hours after an open that count"),
        default=24,
        validators=[MaxValueValidator(LONGEST_WINDOW)],
        help_text=_("0: opening a message does not count."),
    )
    view_hours = models.JSONField(_("hours after a message was seen that count"), default=dict, blank=True)
    counting = models.TextField(_("counts"), choices=Counting, default=Counting.EVERY)
    default_model = models.TextField(
        _("credit goes to"),
        choices=Model,
        default=Model.LAST_CLICK,
        help_text=_("All ways are worked out; reports begin with this one."),
    )
    own = models.BooleanField(default=False, db_default=False, editable=False)
    own_rules = models.JSONField(default=dict, db_default={}, editable=False)
    active = models.BooleanField(
        _("active"), default=True, help_text=_("What a goal that is not active has, stays as it is.")
    )
    counted_in = models.CharField(max_length=3, blank=True, default="", editable=False)
    recompute_from = models.DateTimeField(null=True, editable=False)
    recomputed_upto = models.DateTimeField(null=True, editable=False)
    recompute_last = models.DateTimeField(null=True, editable=False)
    recomputed_at = models.DateTimeField(null=True, editable=False)

    # What of a goal its credits depend on.
    RULES: ClassVar = (
        *("event", "where", "value_property", "currency_property", "currency"),
        *("click_hours", "open_hours", "view_hours", "counting", "active"),
    )

    objects = MadeGoals()
    everything = models.Manager["Goal"]()

    class Meta:
        verbose_name = _("goal")
        verbose_name_plural = _("goals")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["own"], condition=Q(own=True), name="one_for_messages_own_goals")
        ]

    def __str__(self):
        return self.name


class ExchangeRate(models.Model):
    """What one unit of a currency was worth on a day, in the account's currency."""

    day = models.DateField(_("day"))
    currency = models.CharField(_("currency"), max_length=3, help_text=_("Three letters, like USD."))
    rate = models.DecimalField(
        _("rate"),
        max_digits=20,
        decimal_places=10,
        help_text=_("What one unit of it is worth in the account's currency."),
    )

    class Meta:
        verbose_name = _("exchange rate")
        verbose_name_plural = _("exchange rates")
        ordering = ["-day", "currency"]
        constraints = [
            models.UniqueConstraint(fields=["currency", "day"], name="one_rate_of_a_day"),
            models.CheckConstraint(condition=Q(rate__gt=0), name="rate_is_positive"),
            models.CheckConstraint(condition=Q(currency__regex="^[A-Z]{3}$"), name="rate_of_a_currency"),
        ]

    def __str__(self):
        return f"{self.currency} {self.day}"


class Credit(models.Model):
    """A delivery's share in one goal event, by one attribution model.

    Shares of an event and model add up to exactly 1, and so do their values to the event's. `account_value` is None
    where there was no rate to convert with. A row outlives its delivery and event: what was earned stays so.
    When the message was sent, to whom and by what, is as its fact has it.
    """

    pk = models.CompositePrimaryKey("goal_id", "event_id", "model", "delivery_id")
    # Not checked by the database, a sixth of the time that crediting takes: who deletes a goal holds the reader.
    goal = models.ForeignKey(
        Goal, models.CASCADE, related_name="credits", db_index=False, db_constraint=False
    )
    event_id = models.UUIDField()
    model = models.TextField(choices=Goal.Model)
    delivery_id = models.BigIntegerField()
    series_id = models.BigIntegerField()
    share = models.DecimalField(max_digits=10, decimal_places=9)
    value = models.DecimalField(max_digits=18, decimal_places=4, null=True)
    currency = models.TextField(blank=True, default="")
    account_value = models.DecimalField(max_digits=24, decimal_places=4, null=True)
    account_currency = models.TextField(blank=True, default="")
    occurred_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    locale = models.TextField(blank=True, default="", db_default="")
    country = models.TextField(blank=True, default="", db_default="")
    provider = models.TextField(blank=True, default="", db_default="")
    device = models.TextField(blank=True, default="", db_default="")

    class Meta:
        verbose_name = _("credit for a goal")
        verbose_name_plural = _("credits for goals")
        default_permissions = ()
        indexes = [
            models.Index(fields=["delivery_id"], name="credit_by_delivery"),
            models.Index(fields=["event_id"], name="credit_by_event"),
            models.Index(fields=["goal", "occurred_at"], name="credit_by_time"),
        ]


class EarnedDay(models.Model):
    """What goals brought a series on one day of the account's time zone, by one attribution model.

    In all, or where `dimension` has the value `trait`, as in DayFigures. The row with an empty `currency` has the
    conversions (sums of shares), how many messages had some, and amounts in the account's currency; the others have
    amounts in their own one, which could not be converted. The first columns are about goal events of the day, whenever
    the message was sent; the others about messages sent on the day, whenever the event was.
    """

    pk = models.CompositePrimaryKey(
        *("generation", "goal_id", "model", "dimension", "day", "series_id", "trait", "currency")
    )
    generation = models.IntegerField()
    goal = models.ForeignKey(Goal, models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    model = models.TextField()
    dimension = models.TextField()
    day = models.DateField()
    series_id = models.BigIntegerField()
    trait = models.TextField()
    currency = models.TextField()
    conversions = models.DecimalField(max_digits=24, decimal_places=9, default=0, db_default=0)
    people = models.BigIntegerField(default=0, db_default=0)
    value = models.DecimalField(max_digits=28, decimal_places=4, default=0, db_default=0)
    sent_conversions = models.DecimalField(max_digits=24, decimal_places=9, default=0, db_default=0)
    sent_people = models.BigIntegerField(default=0, db_default=0)
    sent_value = models.DecimalField(max_digits=28, decimal_places=4, default=0, db_default=0)

    class Meta:
        verbose_name = _("earned on a day")
        verbose_name_plural = _("earned on days")
        default_permissions = ()
