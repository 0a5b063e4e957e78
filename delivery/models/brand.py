"""How the company presents itself in what it sends."""

import re

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

_COLOUR = RegexValidator(r"\A#[0-9a-fA-F]{6}\Z", _("Write a colour such as #4f46e5."))
_ADDRESS = re.compile(r"https?://[^\s<>\"'\\]+")


def check_address(value: str) -> None:
    """Refuse what is not an absolute web address: mail programs know no site that a path could belong to."""
    if value and not _ADDRESS.fullmatch(value):
        raise ValidationError(_("Write an address that begins with https://."))


class BrandKit(models.Model):
    """Logo, colours, fonts, addresses and usual sender. There is one row."""

    class Font(models.TextChoices):
        SYSTEM = "system", _("what the device uses")
        ARIAL = "arial", "Arial"
        GEORGIA = "georgia", "Georgia"
        TAHOMA = "tahoma", "Tahoma"
        TIMES = "times", "Times New Roman"
        TREBUCHET = "trebuchet", "Trebuchet"
        VERDANA = "verdana", "Verdana"

    company_name = models.TextField(_("company"), blank=True, default="")
    postal_address = models.TextField(
        _("postal address"),
        blank=True,
        default="",
        help_text=_("Law asks for it in the foot of advertising emails."),
    )
    website = models.TextField(_("website"), blank=True, default="")
    logo_url = models.TextField(_("logo"), blank=True, default="")
    logo_width = models.PositiveIntegerField(_("width of the logo in pixels"), default=160)
    accent = models.CharField(_("main colour"), max_length=7, default="#4f46e5", validators=[_COLOUR])
    text_colour = models.CharField(
        _("colour of texts"), max_length=7, default="#1f2937", validators=[_COLOUR]
    )
    background = models.CharField(
        _("colour around the text"), max_length=7, default="#f3f4f6", validators=[_COLOUR]
    )
    surface = models.CharField(
        _("colour behind the text"), max_length=7, default="#ffffff", validators=[_COLOUR]
    )
    heading_font = models.TextField(_("font of headings"), choices=Font, default=Font.SYSTEM)
    body_font = models.TextField(_("font of texts"), choices=Font, default=Font.SYSTEM)
    social_links = models.JSONField(_("social networks"), default=dict, db_default={}, blank=True)
    sender_name = models.TextField(_("sender's name"), blank=True, default="")
    sender_email = models.EmailField(_("sender's address"), blank=True, default="")
    reply_to = models.EmailField(_("answers go to"), blank=True, default="")
    updated_at = models.DateTimeField(_("changed"), auto_now=True, db_default=Now())

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brand")
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="one_row_of_brand")]

    def __str__(self):
        return self.company_name or str(_("Brand"))

    def save(self, *args, **kwargs):
        """Keep it the only row."""
        self.pk = 1
        super().save(*args, **kwargs)

    def clean(self):
        """Check the addresses."""
        for name in ("website", "logo_url"):
            try:
                check_address(getattr(self, name))
            except ValidationError as error:
                raise ValidationError({name: error}) from error

    @classmethod
    def load(cls) -> "BrandKit":
        """The kit; the usual one as long as nobody saved any."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)
