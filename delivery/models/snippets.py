"""Texts that several messages share."""

from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Snippet(models.Model):
    """A block of text that messages include by its short name, written once in each language."""

    slug = models.CharField(
        _("short name"),
        max_length=50,
        unique=True,
        validators=[
            RegexValidator(
                r"\A[a-z][a-z0-9_]*\Z", _("Use small letters, digits and _, beginning with a letter.")
            )
        ],
        help_text=_("Messages say {{ snippets.short_name }} where the text is to be."),
    )
    name = models.TextField(_("name"))
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("snippet")
        verbose_name_plural = _("snippets")
        ordering = ["name"]

    def __str__(self):
        return self.name


class SnippetText(models.Model):
    """The words of one snippet in one language."""

    snippet = models.ForeignKey(Snippet, models.CASCADE, related_name="texts")
    locale = models.TextField(
        _("language"), blank=True, default="", help_text=_("Empty: for everybody without a better match.")
    )
    text = models.TextField(_("text"))

    class Meta:
        verbose_name = _("text of a snippet")
        verbose_name_plural = _("texts of a snippet")
        constraints = [
            models.UniqueConstraint(fields=["snippet", "locale"], name="one_text_of_a_snippet_per_locale")
        ]

    def __str__(self):
        return self.locale or str(_("Everybody"))
