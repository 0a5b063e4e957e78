"""Keys by which push services know us."""

from django.db import models
from django.db.models.functions import Now

from crm.fields import EncryptedJSONField


class VapidKey(models.Model):
    """The P-256 key pair that signs web pushes (RFC 8292); made once, since subscriptions are bound to it."""

    public_key = models.TextField(unique=True, help_text="Uncompressed point, base64url without padding.")
    private_key = EncryptedJSONField(help_text="Raw scalar, base64url without padding.")
    only = models.BooleanField(default=True, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
