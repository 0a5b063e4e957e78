"""Attributes of profiles that have a column and an index of their own."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class IndexedAttribute(models.Model):
    """One value inside `attributes` that is kept in a column as well, so that asking for it needs no look at each row.

    `path` is as rules name it, without `attributes.`. While the column is filled, `reached` is the highest profile id
    that is done, and `goal` the highest there was.
    """

    class State(models.TextChoices):
        ADDING = "adding", _("waiting for its column")
        FILLING = "filling", _("being filled")
        INDEXING = "indexing", _("being indexed")
        READY = "ready", _("in use")
        FAILED = "failed", _("failed")
        REMOVING = "removing", _("being removed")

    path = models.TextField(_("attribute"), unique=True)
    state = models.TextField(_("state"), choices=State, default=State.ADDING, editable=False)
    reached = models.BigIntegerField(default=0, editable=False)
    goal = models.BigIntegerField(default=0, editable=False)
    error = models.TextField(_("error"), blank=True, default="", editable=False)
    ready_at = models.DateTimeField(_("in use since"), null=True, editable=False)
    removed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("indexed attribute")
        verbose_name_plural = _("indexed attributes")
        ordering = ["path"]
        constraints = [
            models.CheckConstraint(condition=~Q(path=""), name="an_indexed_attribute_names_something")
        ]

    def __str__(self):
        return self.path

    @property
    def column(self) -> str:
        """The column of crm_profile; made of our number, never of what somebody wrote."""
        return f"indexed_{self.pk:d}"

    @property
    def index(self) -> str:
        """The name of its index."""
        return f"profile_by_indexed_{self.pk:d}"

    @property
    def progress(self) -> float:
        """The share of people whose value is stored, from 0 to 1."""
        return (
            1.0 if self.state in (self.State.INDEXING, self.State.READY) else self.reached / max(self.goal, 1)
        )
