"""Messages that wait inside a site or app."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from delivery.models.deliveries import Delivery


class InAppMessage(models.Model):
    """One delivery in its person's inbox; who it is for and what it says are the delivery's."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        SHOWN = "shown", _("shown")
        CLICKED = "clicked", _("clicked")
        DISMISSED = "dismissed", _("dismissed")

    delivery = models.OneToOneField(
        Delivery, models.CASCADE, primary_key=True, related_name="in_app", verbose_name=_("delivery")
    )
    state = models.TextField(_("state"), choices=State, default=State.WAITING, db_default=State.WAITING)
    expires_at = models.DateTimeField(_("expires"))
    answered_at = models.DateTimeField(_("answered"), null=True, blank=True)

    class Meta:
        verbose_name = _("in-app message")
        verbose_name_plural = _("in-app messages")

    def __str__(self):
        return str(self.delivery)
