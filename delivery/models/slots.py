"""Places taken under limits of how often somebody is written to."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Slot(models.Model):
    """The message that used up a limit last, such as one about a topic in a week.

    `key` names the limit, such as "topic:news". There is no foreign key to the profile on purpose: taking a place
    must not wait for a merge of the profile, which waits for the deliveries that the dispatcher holds.
    """

    profile_id = models.BigIntegerField(_("profile"))
    key = models.TextField(_("limit"))
    taken_at = models.DateTimeField(_("taken"))
    delivery_id = models.BigIntegerField(_("delivery"))

    class Meta:
        verbose_name = _("place under a limit")
        verbose_name_plural = _("places under limits")
        constraints = [models.UniqueConstraint(fields=["profile_id", "key"], name="one_slot_per_limit")]
