"""One message to everybody in a segment."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.models.segments import Segment
from delivery.models import Message


class Broadcast(models.Model):
    """One message to the people who are in a segment when it is launched."""

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        LAUNCHED = "launched", _("launched")

    name = models.TextField(_("name"))
    message = models.ForeignKey(Message, models.PROTECT, related_name="broadcasts", verbose_name=_("message"))
    segment = models.ForeignKey(Segment, models.PROTECT, related_name="broadcasts", verbose_name=_("segment"))
    channel = models.TextField(_("channel"), default="webpush")
    state = models.TextField(_("state"), choices=State, default=State.DRAFT, editable=False)
    audience = models.PositiveIntegerField(_("audience"), null=True, editable=False)
    launched_at = models.DateTimeField(_("launched"), null=True, editable=False)
    launched_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("broadcast")
        verbose_name_plural = _("broadcasts")
        permissions = [("launch_broadcast", "Can launch broadcasts")]
        constraints = [
            models.CheckConstraint(
                condition=Q(state="draft") | Q(audience__isnull=False, launched_at__isnull=False),
                name="a_launched_broadcast_has_an_audience",
            )
        ]

    def __str__(self):
        return self.name
