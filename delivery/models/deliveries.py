"""The outbox: who is to get what, and what became of it."""

from operator import attrgetter

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models import Device, Profile
from crm.models.outlined import Outlined
from delivery.models.messages import Message


class Delivery(Outlined):
    """One message to one person, for one cause.

    `cause` is derived from what asked for it (such as "flow:<enrollment>:<step>:<pass>"), so asking twice
    makes one row. `due_at` is when to look at it next while it waits; `lease_until` is how long the worker
    that took it may be silent before another one takes over. `transactional` is what its message was when it was
    asked for: with the channel it says which lane it goes by.
    """

    # A reason may be a provider's words, which often tell the address.
    contact_data = {"context": "data", "content": "data", "links": "data", "reason": "text"}

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        DEFERRED = "deferred", _("put off")
        SENDING = "sending", _("sending")
        SENT = "sent", _("sent")
        DELIVERED = "delivered", _("delivered")
        SUPPRESSED = "suppressed", _("not sent by rule")
        FAILED = "failed", _("failed")
        EXPIRED = "expired", _("expired")

    WAITING = (State.QUEUED, State.DEFERRED)

    class Origin(models.TextChoices):
        FLOW = "flow", _("flow")
        BROADCAST = "broadcast", _("broadcast")
        API = "api", _("API")
        TEST = "test", _("test")

    class WhenLimited(models.TextChoices):
        DEFER = "defer", _("put off until it fits")
        SKIP = "skip", _("not sent")

    cause = models.TextField(_("cause"), unique=True)
    message = models.ForeignKey(
        Message, models.PROTECT, related_name="deliveries", verbose_name=_("message"), db_index=False
    )
    profile = models.ForeignKey(
        Profile, models.CASCADE, related_name="deliveries", verbose_name=_("profile"), db_index=False
    )
    channel = models.TextField(_("channel"))
    variant = models.TextField(_("variant"), default="a")
    locale = models.TextField(_("language"), blank=True, default="", db_default="")
    state = models.TextField(_("state"), choices=State, default=State.QUEUED)
    reason = models.TextField(_("reason"), blank=True, default="", db_default="")
    due_at = models.DateTimeField(_("due"))
    expires_at = models.DateTimeField(_("expires"))
    lease_until = models.DateTimeField(_("taken until"), null=True, blank=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=0, db_default=0)
    context = models.JSONField(_("data for the text"), default=dict, db_default={}, blank=True)
    content = models.JSONField(_("content as sent"), null=True, blank=True)
    links = models.JSONField(_("where its links lead"), default=list, db_default=[], blank=True)
    transactional = models.BooleanField(_("transactional"), default=False, db_default=False)
    origin_type = models.TextField(_("asked for by"), choices=Origin)
    origin_id = models.BigIntegerField(_("number of the flow or broadcast"), null=True, blank=True)
    origin_step = models.TextField(_("step"), blank=True, default="", db_default="")
    priority = models.SmallIntegerField(
        _("priority"), default=3, db_default=3, help_text=_("1 goes first, 5 last.")
    )
    when_limited = models.TextField(
        _("in quiet hours or at a limit"),
        choices=WhenLimited,
        default=WhenLimited.DEFER,
        db_default=WhenLimited.DEFER,
    )
    queued_at = models.DateTimeField(_("queued at"))
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)
    delivered_at = models.DateTimeField(_("delivered at"), null=True, blank=True)

    # Sending asks for it dozens of times per message, and Django's looks up the field's name each time.
    pk = property(attrgetter("id"), lambda self, value: setattr(self, "id", value))

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        constraints = [
            models.CheckConstraint(
                condition=~Q(state__in=["sent", "delivered"]) | Q(sent_at__isnull=False),
                name="what_was_sent_has_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="sending") | Q(lease_until__isnull=False), name="sending_has_a_lease"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["suppressed", "failed"]) | ~Q(reason=""),
                name="what_was_not_sent_has_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(priority__gte=1, priority__lte=5), name="priority_is_from_1_to_5"
            ),
        ]
        indexes = [
            models.Index(
                fields=["channel", "transactional", "due_at"],
                condition=Q(state__in=["queued", "deferred"]),
                name="delivery_lane",
            ),
            models.Index(
                fields=["channel", "transactional", "priority", "due_at"],
                condition=Q(state__in=["queued", "deferred"]),
                name="delivery_lane_by_priority",
            ),
            models.Index(fields=["lease_until"], condition=Q(state="sending"), name="delivery_leased"),
            models.Index(fields=["profile", "-queued_at"], name="delivery_by_profile"),
            models.Index(fields=["message", "state"], name="delivery_by_message"),
            models.Index(fields=["origin_type", "origin_id", "state"], name="delivery_by_origin"),
            models.Index(F("sent_at").desc(nulls_last=True), name="delivery_by_sent_at"),
            # The ledger's: newest first, for each of its filters.
            models.Index(fields=["-queued_at", "-id"], name="delivery_by_time"),
            models.Index(fields=["channel", "-queued_at", "-id"], name="delivery_by_channel_and_time"),
            models.Index(fields=["message", "-queued_at", "-id"], name="delivery_by_message_and_time"),
            models.Index(
                fields=["state", "-queued_at", "-id"],
                condition=Q(state__in=["suppressed", "failed", "expired"]),
                name="delivery_not_sent_by_time",
            ),
        ]
        permissions = [
            ("export_delivery", _("Can export deliveries")),
            ("resend_delivery", _("Can send failed messages again")),
        ]

    def __str__(self):
        return f"{self._meta.verbose_name} {self.pk}"


class Attempt(Outlined):
    """One call to a provider for one delivery and one device.

    Written as `started` before the call: a row that stays so tells that the outcome is unknown.
    """

    contact_data = {"detail": "text", "address": "text"}

    class Outcome(models.TextChoices):
        STARTED = "started", _("started")
        ACCEPTED = "accepted", _("accepted")
        GONE = "gone", _("address no longer exists")
        REFUSED = "refused", _("refused")
        RETRY = "retry", _("try again later")
        CONFIGURATION = "configuration", _("our configuration was refused")

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="tries")
    device = models.ForeignKey(Device, models.SET_NULL, null=True, related_name="+", verbose_name=_("device"))
    account = models.ForeignKey(
        "delivery.Account", models.SET_NULL, null=True, related_name="+", verbose_name=_("account")
    )
    address = models.TextField(_("address"), blank=True, default="", db_default="")
    provider_id = models.TextField(_("number at the provider"), blank=True, default="", db_default="")
    cost = models.DecimalField(_("cost"), max_digits=12, decimal_places=6, null=True)
    outcome = models.TextField(_("outcome"), choices=Outcome, default=Outcome.STARTED)
    status_code = models.PositiveIntegerField(_("answer"), null=True)
    detail = models.TextField(_("detail"), blank=True, default="", db_default="")
    started_at = models.DateTimeField(_("started"), db_default=Now())
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        indexes = [
            models.Index(
                fields=["account", "provider_id"], condition=~Q(provider_id=""), name="attempt_by_provider_id"
            )
        ]
