"""What came of the deliveries. All of it is a projection of the event log and can be rebuilt from it."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from delivery.models import Delivery, Message


class Series(models.Model):
    """Deliveries that reports count together: a message in one variant, by one channel, asked for by one thing.

    `origin_id` is 0 where nothing of ours asked, such as for messages by the API.
    """

    message = models.ForeignKey(
        Message, models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    channel = models.TextField()
    variant = models.TextField()
    origin_type = models.TextField()
    origin_id = models.BigIntegerField()
    origin_step = models.TextField()

    class Meta:
        verbose_name = _("series")
        verbose_name_plural = _("series")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["message", "channel", "variant", "origin_type", "origin_id", "origin_step"],
                name="one_series_of_a_kind",
            )
        ]


class Engagement(models.Model):
    """The first time each thing happened to one delivery, and what it is counted by.

    A row outlives its delivery, then without a person: what was counted stays so. It has a `series` unless it is a
    test, and counts once `sent_at` is known, or `ended_at` when it was not sent. Where and what somebody is, is what
    it was when the message was sent; `device` is what they opened it with first, else what it was sent to.
    """

    class Ended(models.TextChoices):
        SUPPRESSED = "suppressed", _("not sent by rule")
        FAILED = "failed", _("failed")
        EXPIRED = "expired", _("expired")

    delivery = models.OneToOneField(
        Delivery, models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="engagement"
    )
    series = models.ForeignKey(
        Series, models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    sent_at = models.DateTimeField(_("sent"), null=True)
    shown_at = models.DateTimeField(_("shown"), null=True)
    opened_at = models.DateTimeField(_("opened"), null=True)
    clicked_at = models.DateTimeField(_("clicked"), null=True)
    dismissed_at = models.DateTimeField(_("dismissed"), null=True)
    read_at = models.DateTimeField(_("read"), null=True)
    bounced_at = models.DateTimeField(_("bounced"), null=True)
    complained_at = models.DateTimeField(_("called spam"), null=True)
    unsubscribed_at = models.DateTimeField(_("unsubscribed"), null=True)
    machine_opened_at = models.DateTimeField(_("opened by a machine"), null=True)
    machine_clicked_at = models.DateTimeField(_("clicked by a machine"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)
    ended = models.TextField(_("as"), choices=Ended, blank=True, default="", db_default="")
    reason = models.TextField(_("reason"), blank=True, default="", db_default="")
    locale = models.TextField(_("language"), blank=True, default="", db_default="")
    country = models.TextField(_("country"), blank=True, default="", db_default="")
    zone = models.TextField(_("time zone"), blank=True, default="", db_default="")
    provider = models.TextField(_("carried by"), blank=True, default="", db_default="")
    device = models.TextField(_("device"), blank=True, default="", db_default="")
    device_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("engagement")
        verbose_name_plural = _("engagements")
        indexes = [
            models.Index(fields=["sent_at", "delivery"], name="engagement_by_sent_at"),
            models.Index(
                fields=["ended_at", "delivery"],
                condition=Q(ended_at__isnull=False),
                name="engagement_by_ended_at",
            ),
            # Whom a number is about, the latest first: of some series, and of what happens to few.
            models.Index(fields=["series", "delivery"], name="engagement_by_series"),
            models.Index(fields=["delivery"], condition=Q(ended="suppressed"), name="engagement_suppressed"),
            models.Index(
                fields=["delivery"], condition=Q(bounced_at__isnull=False), name="engagement_bounced"
            ),
            models.Index(
                fields=["delivery"], condition=Q(complained_at__isnull=False), name="engagement_complained"
            ),
            models.Index(
                fields=["delivery"],
                condition=Q(unsubscribed_at__isnull=False),
                name="engagement_unsubscribed",
            ),
            models.Index(
                fields=["delivery"],
                condition=Q(machine_clicked_at__isnull=False),
                name="engagement_machine_clicked",
            ),
            models.Index(
                fields=["delivery"],
                condition=Q(ended__in=["failed", "expired"]),
                name="engagement_not_delivered",
            ),
        ]


class Conversion(models.Model):
    """One goal event, credited to the delivery whose click came last before it."""

    event_id = models.UUIDField(primary_key=True)
    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="conversions")
    value = models.DecimalField(_("value"), max_digits=18, decimal_places=4, null=True)
    currency = models.TextField(_("currency"), blank=True, default="")
    occurred_at = models.DateTimeField(_("happened"))

    class Meta:
        verbose_name = _("conversion")
        verbose_name_plural = _("conversions")
        indexes = [models.Index(fields=["occurred_at"], name="conversion_by_time")]
