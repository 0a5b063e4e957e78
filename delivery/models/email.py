"""What emails are made of, besides their words: layouts that were sent, and pictures that are hosted here."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _


class EmailLayout(models.Model):
    """A compiled email that was sent to somebody, by the digest of its parts; deliveries keep only their values.

    `used_at` moves on, once a day, while it is in use: see `delivery.email.keeping`.
    """

    digest = models.TextField(primary_key=True)
    parts = models.JSONField()  # {"html": [...], "text": [...]}: texts, and numbers of values
    used_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("email layout")
        verbose_name_plural = _("email layouts")


class EmailImage(models.Model):
    """A picture that this server shows to readers of emails."""

    file = models.FileField(_("file"), upload_to="email/")
    name = models.TextField(_("name"))
    alt = models.TextField(_("description"), help_text=_("For those who do not see the picture."))
    content_type = models.TextField(editable=False)
    width = models.PositiveIntegerField(_("width"), editable=False)
    height = models.PositiveIntegerField(_("height"), editable=False)
    size = models.PositiveIntegerField(_("bytes"), editable=False)
    created_at = models.DateTimeField(_("uploaded"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("picture")
        verbose_name_plural = _("pictures")
        ordering = ["-pk"]

    def __str__(self):
        return self.name

    @property
    def url(self) -> str:
        """Its public address."""
        return settings.NUDGE_PUBLIC_URL + reverse(
            "email-image", args=[str(self.file.name).rpartition("/")[2]]
        )
