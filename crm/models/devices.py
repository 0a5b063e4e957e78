"""Browsers and apps that can receive pushes."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.outlined import Outlined
from crm.models.profiles import Profile


class Device(Outlined):
    """One person's browser or app that takes pushes. `endpoint` is a browser's push endpoint, or an app's token.

    `kind` says who carries to it: "webpush", "fcm", "apns", or "sandbox" for one that only pretends to be there.
    `app` is what the platform calls the app, such as its bundle id.
    """

    contact_data = {"endpoint": "endpoint", "p256dh": "secret", "auth": "secret", "user_agent": "text"}

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        GONE = "gone", _("gone")

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="devices")
    kind = models.TextField(_("kind"), default="webpush")
    endpoint = models.TextField(_("endpoint"), unique=True)
    p256dh = models.TextField(_("public key"), blank=True, default="")
    auth = models.TextField(_("shared secret"), blank=True, default="")
    application_key = models.TextField(_("our public key"), default="")
    app = models.TextField(_("app"), blank=True, default="", db_default="")
    platform = models.TextField(_("platform"), blank=True, default="", db_default="")
    origin = models.TextField(_("site"), blank=True, default="")
    user_agent = models.TextField(_("browser"), blank=True, default="")
    language = models.TextField(_("language"), blank=True, default="")
    state = models.TextField(_("state"), choices=State, default=State.ACTIVE)
    gone_reason = models.TextField(_("why it is gone"), blank=True, default="")
    created_at = models.DateTimeField(_("subscribed"), db_default=Now(), editable=False)
    changed_at = models.DateTimeField(_("last change"), db_default=Now())

    class Meta:
        verbose_name = _("device")
        verbose_name_plural = _("devices")
        indexes = [
            models.Index(
                fields=["profile"], condition=models.Q(state="active"), name="device_active_by_profile"
            ),
            models.Index(fields=["changed_at"], condition=models.Q(state="gone"), name="device_gone_by_time"),
        ]

    def __str__(self):
        return f"{self.kind} {self.pk}"
