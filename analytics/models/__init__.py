"""What came of the deliveries; both tables are projections of the event log and can be rebuilt from it."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from delivery.models import Delivery


class Engagement(models.Model):
    """The first time each thing happened to one delivery."""

    delivery = models.OneToOneField(Delivery, models.CASCADE, primary_key=True, related_name="engagement")
    shown_at = models.DateTimeField(_("shown"), null=True)
    opened_at = models.DateTimeField(_("opened"), null=True)
    clicked_at = models.DateTimeField(_("clicked"), null=True)
    dismissed_at = models.DateTimeField(_("dismissed"), null=True)

    class Meta:
        verbose_name = _("engagement")
        verbose_name_plural = _("engagements")


class Conversion(models.Model):
    """One goal event, credited to the delivery whose click came last before it."""

    event_id = models.UUIDField(primary_key=True)
    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="conversions")
    value = models.DecimalField(_("value"), max_digits=18, decimal_places=4, null=True)
    currency = models.TextField(_("currency"), blank=True, default="")
    occurred_at = models.DateTimeField(_("happened"))

    class Meta:
        verbose_name = _("conversion")
        verbose_name_plural = _("conversions")
        indexes = [models.Index(fields=["occurred_at"], name="conversion_by_time")]
