"""Whose services carry our messages, what they said about them, and what the pretended ones were given."""

import secrets

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.fields import EncryptedJSONField
from crm.models.outlined import Outlined
from delivery.models.deliveries import Delivery


def callback_key() -> str:
    """Part of the address that an account's provider calls: nobody can guess it."""
    return secrets.token_urlsafe(24)


class Account(models.Model):
    """An account at a provider (`delivery.providers`), through which one channel's messages go.

    `usual` is the one that a channel takes for its purpose. `failures`, `trips` and `held_until` are the circuit
    breaker's (delivery/breaker.py), `next_at` the throttle's.
    """

    class Purpose(models.TextChoices):
        ANY = "any", _("everything")
        MARKETING = "marketing", _("marketing only")
        TRANSACTIONAL = "transactional", _("transactional messages only")

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        PAUSED = "paused", _("paused")

    name = models.TextField(_("name"), unique=True)
    slug = models.SlugField(_("short name"), unique=True)
    channel = models.TextField(_("channel"))
    provider = models.TextField(_("provider"))
    config = models.JSONField(_("settings"), default=dict, blank=True)
    credentials = EncryptedJSONField(_("credentials"), default=dict, blank=True)
    purpose = models.TextField(_("used for"), choices=Purpose, default=Purpose.ANY)
    state = models.TextField(_("state"), choices=State, default=State.ACTIVE)
    usual = models.BooleanField(_("used by default"), default=True)
    per_second = models.FloatField(
        _("messages a second"),
        null=True,
        blank=True,
        help_text=_("What the provider allows; empty for as fast as it goes."),
    )
    cost_per_part = models.DecimalField(
        _("cost of one part"), max_digits=12, decimal_places=6, null=True, blank=True
    )
    currency = models.CharField(_("currency"), max_length=3, blank=True, default="")
    callback_key = models.TextField(unique=True, default=callback_key, editable=False)
    failures = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    trips = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    held_until = models.DateTimeField(_("held until"), null=True, editable=False)
    next_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("sending account")
        verbose_name_plural = _("sending accounts")
        ordering = ["channel", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "purpose"],
                condition=Q(usual=True, state="active"),
                name="one_usual_account_per_channel_and_purpose",
                violation_error_message=_("Another account of this channel is used by default already."),
            ),
            models.CheckConstraint(
                condition=Q(per_second__isnull=True) | Q(per_second__gt=0), name="account_rate_is_positive"
            ),
        ]

    def __str__(self):
        return self.name


class ProviderReport(Outlined):
    """What a provider told about a message later: arrived, bounced, read, complained about.

    Kept as told, once each (`key`), and also when nothing of ours fits (yet): reports may come before the answer
    to the call that sent the message.
    """

    contact_data = {"detail": "text"}

    account = models.ForeignKey(Account, models.CASCADE, related_name="reports")
    key = models.TextField()
    provider_id = models.TextField(_("number at the provider"))
    kind = models.TextField(_("what happened"))  # delivery.providers.base.Reported
    detail = models.TextField(_("detail"), blank=True, default="", db_default="")
    at = models.DateTimeField(_("when"))
    received_at = models.DateTimeField(_("received"), db_default=Now())
    delivery = models.ForeignKey(Delivery, models.CASCADE, null=True, related_name="reports")

    class Meta:
        verbose_name = _("provider's report")
        verbose_name_plural = _("providers' reports")
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="provider_reports_once"),
        ]
        indexes = [
            models.Index(
                fields=["account", "provider_id"],
                condition=Q(delivery=None),
                name="provider_report_unmatched",
            ),
        ]


class SandboxItem(Outlined):
    """What a sandbox account was given to send, as the phone or mailbox would show it."""

    contact_data = {"address": "text", "payload": "data"}

    account = models.ForeignKey(Account, models.CASCADE, related_name="items")
    # None: an answer to somebody who wrote to us.
    delivery = models.ForeignKey(
        Delivery, models.CASCADE, null=True, related_name="sandboxed", verbose_name=_("delivery")
    )
    provider_id = models.TextField(unique=True)
    address = models.TextField(_("to"))
    payload = models.JSONField(_("as given to the provider"))
    received_at = models.DateTimeField(_("received"), db_default=Now())

    class Meta:
        verbose_name = _("sandbox message")
        verbose_name_plural = _("sandbox messages")
        indexes = [models.Index(fields=["-received_at"], name="sandbox_by_time")]

    def __str__(self):
        return f"{self._meta.verbose_name} {self.pk}"
