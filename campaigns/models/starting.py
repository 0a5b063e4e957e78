"""Whom the clock is to start, and who is let into a flow because they qualified before it was published."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.models.flows import Flow
from crm.models import Profile


class FlowSchedule(models.Model):
    """How far the clock has come with a flow that it starts.

    It goes by `since`, the flow's `listening_since`; when that moves, all begins anew from there. Of a flow that looks
    ahead, `reached` is up to when everybody's moments are known, and `changes_seen` up to when changes of profiles
    were taken into account. Of another it is the moment of the last start, with the last person of that very moment
    in `after`.
    """

    flow = models.OneToOneField(Flow, models.CASCADE, primary_key=True, related_name="schedule")
    since = models.DateTimeField()
    reached = models.DateTimeField()
    after = models.BigIntegerField(null=True)
    changes_seen = models.DateTimeField()

    class Meta:
        default_permissions = ()


class FlowMoment(models.Model):
    """Somebody whom the clock is likely to start in a flow at a moment that is near; they are asked again then."""

    flow = models.ForeignKey(Flow, models.CASCADE, db_index=False, related_name="+")
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+")
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["flow", "profile"], name="one_coming_moment_per_person")
        ]
        indexes = [models.Index(fields=["flow", "at"], name="coming_moments")]


class CatchUp(models.Model):
    """Letting in those who qualified before a flow was published, a batch at a time."""

    class State(models.TextChoices):
        LOOKING = "looking", _("looking for people")
        STARTING = "starting", _("letting people in")
        DONE = "done", _("done")
        ENDED = "ended", _("ended with the flow")
        FAILED = "failed", _("failed")

    flow = models.ForeignKey(Flow, models.CASCADE, related_name="catch_ups")
    days = models.PositiveIntegerField(_("days looked back"))
    state = models.TextField(_("state"), choices=State, default=State.LOOKING)
    found = models.PositiveIntegerField(_("found"), default=0)
    handled = models.PositiveIntegerField(_("handled"), default=0)
    entered = models.PositiveIntegerField(_("entered"), default=0)
    refused = models.JSONField(_("not let in, by reason"), default=dict)
    error = models.TextField(_("error"), blank=True, default="")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(_("started"), db_default=Now())

    class Meta:
        default_permissions = ()
        verbose_name = _("catch-up")
        verbose_name_plural = _("catch-ups")


class CatchUpPerson(models.Model):
    """One start that a catch-up has yet to make: by an event of the log, or with `context` and `mark`."""

    catch_up = models.ForeignKey(CatchUp, models.CASCADE, db_index=False, related_name="people")
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+")
    at = models.DateTimeField()
    event_id = models.UUIDField(null=True)
    context = models.JSONField(null=True)
    mark = models.TextField(default="", db_default="")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["catch_up", "id"], name="catch_up_in_order")]
