"""What people agreed to, with the proof."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.profiles import Profile


class ConsentFields(models.Model):
    class Kind(models.TextChoices):
        CHANNEL = "channel", _("channel")
        TOPIC = "topic", _("topic")

    class State(models.TextChoices):
        SUBSCRIBED = "subscribed", _("subscribed")
        UNSUBSCRIBED = "unsubscribed", _("unsubscribed")

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+")
    kind = models.TextField(_("for a"), choices=Kind)
    key = models.TextField(_("name"), help_text=_("The channel's or topic's name, such as webpush."))
    state = models.TextField(_("state"), choices=State)
    source = models.TextField(_("source"), help_text=_("Who changed it: sdk, api, crm, admin, person …"))
    wording = models.TextField(_("wording shown"), blank=True, default="")
    changed_at = models.DateTimeField(_("changed"))

    class Meta:
        abstract = True


class Consent(ConsentFields):
    """The present answer of one person for one channel or topic. No row means: never asked."""

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="consents")

    class Meta:
        verbose_name = _("consent")
        verbose_name_plural = _("consents")
        constraints = [
            models.UniqueConstraint(
                fields=["profile", "kind", "key"], name="one_consent_per_channel_or_topic"
            )
        ]

    def __str__(self):
        return f"{self.key}: {self.get_state_display()}"


class ConsentChange(ConsentFields):
    """One entry of the append-only ledger behind Consent."""

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="consent_changes")

    class Meta:
        verbose_name = _("consent change")
        verbose_name_plural = _("consent changes")
        indexes = [models.Index(fields=["profile", "changed_at"], name="consent_change_by_profile")]


class Suppression(models.Model):
    """An address nobody may write to, whatever the consent says."""

    channel = models.TextField(_("channel"))
    address = models.TextField(_("address"))
    reason = models.TextField(_("reason"))
    created_at = models.DateTimeField(_("since"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("suppressed address")
        verbose_name_plural = _("suppressed addresses")
        constraints = [
            models.UniqueConstraint(fields=["channel", "address"], name="an_address_is_suppressed_once")
        ]

    def __str__(self):
        return f"{self.channel} {self.address}"
