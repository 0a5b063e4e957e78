"""What steps of flows have asked others to do: calls of webhooks and writes into CRMs, with what came of them."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.models.flows import Enrollment, Flow
from crm.fields import EncryptedJSONField
from crm.models import Connection, Profile
from crm.models.outlined import Outlined


class WebhookKey(models.Model):
    """A secret that calls are signed with. The one without an end is the present one; an older one signs beside it."""

    secret = EncryptedJSONField(help_text="base64 of 32 bytes")
    made_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)
    signs_until = models.DateTimeField(_("signs until"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("webhook key")
        verbose_name_plural = _("webhook keys")
        ordering = ["-pk"]


class WebhookHost(models.Model):
    """A host that flows call, and whether it is left alone for a while because it does not answer."""

    origin = models.TextField(_("host"), unique=True)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    open_until = models.DateTimeField(_("left alone until"), null=True, blank=True)
    error = models.TextField(_("error"), blank=True, default="")

    class Meta:
        verbose_name = _("called host")
        verbose_name_plural = _("called hosts")
        ordering = ["origin"]

    def __str__(self):
        return self.origin


class WebhookCall(Outlined):
    """One call that a step asked for. `due_at` is when it is tried next, or when its present try counts as lost."""

    contact_data = {"headers": "data", "body": "json", "reply": "data", "error": "text"}

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        ANSWERED = "answered", _("answered")
        FAILED = "failed", _("failed")
        EXPIRED = "expired", _("no answer in time")

    enrollment = models.ForeignKey(
        Enrollment, models.CASCADE, related_name="+", db_index=False, verbose_name=_("run")
    )
    flow = models.ForeignKey(Flow, models.CASCADE, related_name="+", verbose_name=_("flow"))
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+", verbose_name=_("profile"))
    step = models.TextField(_("step"))
    host = models.ForeignKey(
        WebhookHost, models.PROTECT, related_name="+", db_index=False, verbose_name=_("host")
    )
    url = models.TextField(_("address"))
    method = models.TextField(_("method"))
    headers = models.JSONField(_("headers"), default=dict, blank=True)
    body = models.TextField(_("body"), blank=True, default="")
    awaited = models.BooleanField(_("the run waits for it"), default=False)
    state = models.TextField(_("state"), choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(_("tries"), default=0)
    due_at = models.DateTimeField(_("due"), null=True, blank=True)
    expires_at = models.DateTimeField(_("given up at"))
    status_code = models.PositiveIntegerField(_("HTTP status"), null=True, blank=True)
    reply = models.JSONField(_("reply"), null=True, blank=True)
    error = models.TextField(_("error"), blank=True, default="")
    asked_at = models.DateTimeField(_("asked"))
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("webhook call")
        verbose_name_plural = _("webhook calls")
        constraints = [
            models.UniqueConstraint(fields=["enrollment", "step"], name="one_webhook_call_per_run_and_step")
        ]
        indexes = [
            models.Index(
                fields=["host", "due_at"], condition=Q(due_at__isnull=False), name="webhook_call_due"
            ),
            models.Index(
                fields=["finished_at"], condition=Q(finished_at__isnull=False), name="webhook_call_finished"
            ),
        ]


class CrmWrite(Outlined):
    """Values that a step wants in a person's record in a connected CRM; its next sync writes them."""

    contact_data = {"wanted": "values", "error": "text"}

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        WRITTEN = "written", _("written")
        REFUSED = "refused", _("refused")
        NOBODY = "nobody", _("the CRM does not know the person")

    enrollment = models.ForeignKey(
        Enrollment, models.CASCADE, related_name="+", db_index=False, verbose_name=_("run")
    )
    flow = models.ForeignKey(Flow, models.CASCADE, related_name="+", verbose_name=_("flow"))
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+", verbose_name=_("profile"))
    step = models.TextField(_("step"))
    connection = models.ForeignKey(
        Connection, models.CASCADE, related_name="+", db_index=False, verbose_name=_("CRM connection")
    )
    wanted = models.JSONField(_("values"), default=dict)  # CRM field -> value
    state = models.TextField(_("state"), choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(_("tries"), default=0)
    error = models.TextField(_("why it was refused"), blank=True, default="")
    asked_at = models.DateTimeField(_("asked"))
    due_at = models.DateTimeField(_("due"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("write into a CRM")
        verbose_name_plural = _("writes into CRMs")
        constraints = [
            models.UniqueConstraint(
                fields=["enrollment", "step", "connection"], name="one_crm_write_per_run_and_step"
            )
        ]
        indexes = [
            models.Index(
                fields=["connection", "due_at"], condition=Q(due_at__isnull=False), name="crm_write_due"
            ),
        ]
