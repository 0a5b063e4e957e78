"""Answers to requests that may be repeated."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from crm.fields import EncryptedJSONField


class IdempotentAnswer(models.Model):
    """What a POST with an idempotency key was answered; kept for two days, encrypted.

    `key` is a digest of API key, method, path and the header; `request` one of the body.
    """

    key = models.BinaryField(primary_key=True)
    request = models.BinaryField()
    status = models.PositiveSmallIntegerField()
    body = EncryptedJSONField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("kept answer")
        verbose_name_plural = _("kept answers")
