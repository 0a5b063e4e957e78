"""Keys of the REST API."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.fields import EncryptedJSONField


class ApiKey(models.Model):
    """One key, of which only the SHA-256 digest is kept.

    `identity_secret` of a public key is {"secret": …}, with which the site signs its people's names (crm/proof.py).
    """

    class Scope(models.TextChoices):
        READ = "read", _("read profiles and reports")
        READ_MASKED = "read_masked", _("read profiles and events without contact data")
        WRITE = "write", _("write profiles, events and subscriptions")
        PUBLISH = "publish", _("publish, pause and stop flows")
        SEND = "send", _("send messages to people")
        BROWSER = "browser", _("public key of a website: events and subscriptions only")

    name = models.TextField(_("name"), unique=True)
    prefix = models.TextField(_("begins with"), editable=False)
    digest = models.BinaryField(editable=False, unique=True)
    scopes = ArrayField(models.TextField(choices=Scope), verbose_name=_("may"))
    allowed_origins = ArrayField(
        models.TextField(),
        verbose_name=_("websites"),
        default=list,
        blank=True,
        help_text=_(
            "Sites that may use a public key, such as https://shop.example.com. Empty: this site only."
        ),
    )
    identity_secret: "models.Field[dict[str, str], dict[str, str]]" = EncryptedJSONField(
        default=dict, editable=False
    )
    requires_proof = models.BooleanField(
        _("names need a proof"),
        default=False,
        db_default=False,
        help_text=_(
            "Pages may say who their visitor is only with a proof that your server has made. Without this, what a "
            "page says is kept, but never answered with anything about the person."
        ),
    )
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")

    def __str__(self):
        return self.name
