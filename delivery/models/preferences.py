"""How the page looks on which people choose what they get."""

from django.db import models
from django.utils.translation import gettext_lazy as _

ACCENT = "#4338ca"


class PreferencePage(models.Model):
    """The looks and words of the preference page; there is one.

    `texts` holds {language: {"title": …, "intro": …, "goodbye": …, "footer": …}}; what is missing is said in our words.
    """

    name = models.TextField(_("name"), blank=True, default="", help_text=_("Your brand, as people know it."))
    website = models.URLField(_("website"), blank=True, default="", max_length=500)
    logo = models.BinaryField(_("logo"), null=True, editable=True)
    logo_type = models.TextField(blank=True, default="", editable=False)
    logo_url = models.URLField(
        _("address of the logo"), blank=True, default="", max_length=500, help_text=_("Instead of a file.")
    )
    accent = models.CharField(
        _("colour"), max_length=7, default=ACCENT, help_text=_("Of buttons and links, such as #4338ca.")
    )
    texts = models.JSONField(_("texts"), default=dict, blank=True)
    only = models.BooleanField(default=True, unique=True, editable=False)
    changed_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("preference page")
        verbose_name_plural = _("preference page")

    def __str__(self):
        return str(_("Preference page"))
