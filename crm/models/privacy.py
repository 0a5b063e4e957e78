"""What is kept about keeping: who looked, what was erased, and how long events stay."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.connections import Connection


class AuditEntry(models.Model):
    """Who looked at or changed what. Append-only: a trigger (migration 0018) refuses changes and deletions.

    It holds nothing about customers but their numbers; `object_repr` is empty for them.
    """

    class Actor(models.TextChoices):
        USER = "user", _("user")
        KEY = "key", _("API key")
        COMMAND = "command", _("command line")
        NOBODY = "nobody", _("nobody known")

    at = models.DateTimeField(_("time"), db_default=Now(), editable=False)
    actor_type = models.TextField(_("kind of actor"), choices=Actor)
    actor_id = models.BigIntegerField(_("actor's number"), null=True)
    actor = models.TextField(_("who"), blank=True, default="")
    action = models.TextField(_("did"))
    object_type = models.TextField(_("kind of thing"), blank=True, default="")
    object_id = models.TextField(_("its number"), blank=True, default="")
    object_repr = models.TextField(_("its name"), blank=True, default="")
    detail = models.JSONField(_("detail"), default=dict, db_default={})
    address = models.TextField(_("from address"), blank=True, default="")

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        indexes = [
            models.Index(fields=["object_type", "object_id", "id"], name="audit_by_object"),
            models.Index(fields=["action", "id"], name="audit_by_action"),
            models.Index(fields=["actor", "id"], name="audit_by_actor"),
            models.Index(fields=["at"], name="audit_by_time"),
        ]

    def __str__(self):
        return f"{self.actor} {self.action} {self.object_type} {self.object_id}".strip()


class ErasedName(models.Model):
    """The keyed digest of one name of an erased person: it can be recognised, but not read."""

    digest = models.BinaryField(unique=True, editable=False)
    profile_id = models.BigIntegerField(_("erased profile"), db_index=True)
    erased_at = models.DateTimeField(_("erased"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("name of an erased person")
        verbose_name_plural = _("names of erased people")


class CrmErasure(models.Model):
    """One CRM record that shall be erased in the CRM, too; kept until the CRM did it."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        DONE = "done", _("erased in the CRM")
        FAILED = "failed", _("not possible")

    connection = models.ForeignKey(Connection, models.CASCADE, verbose_name=_("connection"))
    object = models.TextField(_("object"))
    record_id = models.TextField(_("record"))
    profile_id = models.BigIntegerField(_("erased profile"), db_index=True)
    state = models.TextField(_("state"), choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    due_at = models.DateTimeField(_("next attempt"), db_default=Now())
    detail = models.TextField(_("what the CRM said"), blank=True, default="")
    requested_at = models.DateTimeField(_("asked for"), db_default=Now(), editable=False)
    settled_at = models.DateTimeField(_("settled"), null=True, editable=False)

    class Meta:
        verbose_name = _("erasure in a CRM")
        verbose_name_plural = _("erasures in CRMs")
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "object", "record_id"], name="a_crm_record_is_erased_once"
            )
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(state="waiting"), name="crm_erasure_due")
        ]

    def __str__(self):
        return f"{self.object} {self.record_id}"


class EventRetention(models.Model):
    """How long events of one name stay; the row without a name is for all names that have none of their own."""

    name = models.TextField(
        _("event"), unique=True, blank=True, help_text=_("Empty: all events without a rule of their own.")
    )
    days = models.PositiveIntegerField(
        _("kept for"), validators=[MinValueValidator(1)], help_text=_("Days since it happened.")
    )
    changed_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("event retention")
        verbose_name_plural = _("event retention")

    def __str__(self):
        return self.name or str(_("all other events"))


class Removal(models.Model):
    """What retention removed on one day."""

    day = models.DateField(_("day"))
    name = models.TextField(_("what"), help_text=_("An event's name, or the partition's month."))
    rows = models.BigIntegerField(_("rows"))
    older_than = models.DateTimeField(_("older than"))

    class Meta:
        verbose_name = _("removal by retention")
        verbose_name_plural = _("removals by retention")
        constraints = [models.UniqueConstraint(fields=["day", "name"], name="one_removal_a_day_and_name")]

    def __str__(self):
        return f"{self.name} {self.day}"


class Role(models.Model):
    """A role that the product brings, its group, and the permissions it was ever given by us.

    What was given once is not given again: what an administrator takes away, or the deletion of the whole group,
    stays so through upgrades.
    """

    slug = models.TextField(unique=True)
    group = models.OneToOneField("auth.Group", models.SET_NULL, null=True, related_name="+")
    offered = ArrayField(models.TextField(), default=list)

    class Meta:
        verbose_name = _("role as delivered")
        verbose_name_plural = _("roles as delivered")

    def __str__(self):
        return self.slug
