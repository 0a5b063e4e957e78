"""What an operator has to know."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Alert(models.Model):
    """One problem that a person has to look at; repeated reports count up instead of piling up."""

    key = models.TextField(_("about"), unique=True)
    title = models.TextField(_("what happened"))
    detail = models.TextField(_("what to do"))
    count = models.PositiveIntegerField(_("times"), default=1)
    first_at = models.DateTimeField(_("first"), db_default=Now())
    last_at = models.DateTimeField(_("last"), db_default=Now())
    mailed_at = models.DateTimeField(null=True, editable=False)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")

    def __str__(self):
        return self.title
