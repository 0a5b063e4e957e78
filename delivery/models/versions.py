"""What a message said before, and which variants of it there are."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from delivery.models.messages import Message


class MessageVariant(models.Model):
    """One of several ways to say a message, and the part of its audience that gets it.

    A message without rows has the one variant "a". Weights are relative: 1 and 1 is half and half, as is 50 and 50.
    """

    message = models.ForeignKey(Message, models.CASCADE, related_name="variants")
    key = models.CharField(
        _("letter"),
        max_length=20,
        validators=[RegexValidator(r"\A[a-z0-9]{1,20}\Z", _("Use small letters and digits."))],
    )
    name = models.TextField(_("name"), blank=True, default="")
    weight = models.PositiveIntegerField(
        _("part"), default=50, validators=[MinValueValidator(0), MaxValueValidator(10_000)]
    )

    class Meta:
        verbose_name = _("variant")
        verbose_name_plural = _("variants")
        ordering = ["key"]
        constraints = [
            models.UniqueConstraint(fields=["message", "key"], name="one_variant_per_message_and_key"),
            models.CheckConstraint(
                condition=models.Q(weight__lte=10_000), name="weight_of_a_variant_is_small"
            ),
        ]

    def __str__(self):
        return self.name or self.key.upper()


class MessageVersion(models.Model):
    """A message with all its words as it was saved once. `state` is what `delivery.versions` takes down."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    state = models.JSONField(_("as it was"))
    restored_from = models.PositiveIntegerField(_("brought back from version"), null=True)
    saved_at = models.DateTimeField(_("saved"))
    saved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("by")
    )

    class Meta:
        verbose_name = _("version of a message")
        verbose_name_plural = _("versions of messages")
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["message", "number"], name="one_version_per_message_and_number")
        ]

    def __str__(self):
        return f"{self.number}"
