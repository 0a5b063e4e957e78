"""Reports that somebody keeps with their filters, and to whom they come by email."""

import datetime

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

EXPORT = "analytics.export_report"
MAIL_OTHERS = "analytics.mail_report"
MAIL_OUTSIDE = "analytics.mail_report_outside"
MANAGE = "analytics.manage_savedreports"


class SavedReport(models.Model):
    """A report with its parameters under a name, and when it is mailed.

    `params` is canonical (`reporting.query.params`). `next_at` is the next time it is due, None where it is not sent.
    `last_due` is the time that was dealt with last and `last_digest` what the report then was; `told_broken` says that
    its owner knows that it can't be made any more.
    """

    class Shared(models.TextChoices):
        PRIVATE = "private", _("only me")
        EVERYONE = "everyone", _("everybody who may see this report")

    class Every(models.TextChoices):
        NEVER = "", _("not by email")
        DAY = "day", _("every day")
        WEEK = "week", _("every week")
        MONTH = "month", _("every month")

    class Attach(models.TextChoices):
        XLSX = "xlsx", _("an Excel workbook")
        CSV = "csv", _("a CSV file of each table")
        NOTHING = "", _("nothing")

    class Only(models.TextChoices):
        ALWAYS = "", _("always")
        FILLED = "filled", _("if there is anything in it")
        CHANGED = "changed", _("if it is another than the last time")

    class Weekday(models.IntegerChoices):
        MONDAY = 0, _("Monday")
        TUESDAY = 1, _("Tuesday")
        WEDNESDAY = 2, _("Wednesday")
        THURSDAY = 3, _("Thursday")
        FRIDAY = 4, _("Friday")
        SATURDAY = 5, _("Saturday")
        SUNDAY = 6, _("Sunday")

    report = models.SlugField(_("report"))
    name = models.CharField(_("name"), max_length=100)
    params = models.JSONField(_("parameters"), default=dict, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("of"),
    )
    shared = models.TextField(_("who sees it"), choices=Shared, default=Shared.PRIVATE)
    every = models.TextField(_("send"), choices=Every, blank=True, default=Every.NEVER)
    weekday = models.SmallIntegerField(_("weekday"), choices=Weekday, default=Weekday.MONDAY)
    day = models.SmallIntegerField(
        _("day of the month"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(31)],
        help_text=_("In shorter months it is the last day."),
    )
    at = models.TimeField(
        _("at"), default=datetime.time(8), help_text=_("By the clock of the account's time zone.")
    )
    attach = models.TextField(_("attached"), choices=Attach, blank=True, default=Attach.XLSX)
    only = models.TextField(_("when"), choices=Only, blank=True, default=Only.ALWAYS)
    paused = models.BooleanField(_("paused"), default=False)
    next_at = models.DateTimeField(_("next"), null=True, editable=False)
    last_due = models.DateTimeField(null=True, editable=False)
    last_digest = models.TextField(blank=True, default="", editable=False)
    last_sent_at = models.DateTimeField(_("sent last"), null=True, editable=False)
    last_error = models.TextField(_("problem"), blank=True, default="", editable=False)
    told_broken = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("saved report")
        verbose_name_plural = _("saved reports")
        ordering = ["name", "pk"]
        permissions = [
            ("export_report", _("Can export reports")),
            ("mail_report", _("Can have reports mailed to other users")),
            ("mail_report_outside", _("Can have reports mailed to any address")),
            ("manage_savedreports", _("Can change everybody's saved reports")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["owner", "report", "name"], name="saved_report_has_a_name"),
        ]
        indexes = [
            models.Index(fields=["next_at"], condition=Q(next_at__isnull=False), name="saved_report_due"),
        ]

    def __str__(self):
        return self.name


class ReportRecipient(models.Model):
    """Somebody who gets a saved report: a user, or whoever reads mail at a typed address, until they have `left_at`."""

    saved = models.ForeignKey(SavedReport, models.CASCADE, related_name="recipients")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("user"),
    )
    address = models.EmailField(_("or an email address"), blank=True, default="")
    language = models.TextField(_("language"), choices=settings.LANGUAGES, default=settings.LANGUAGE_CODE)
    left_at = models.DateTimeField(_("wanted no more"), null=True, editable=False)

    class Meta:
        verbose_name = _("recipient")
        verbose_name_plural = _("recipients")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["saved", "user"], condition=Q(user__isnull=False), name="user_gets_report_once"
            ),
            models.UniqueConstraint(
                fields=["saved", "address"], condition=~Q(address=""), name="address_gets_report_once"
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=False, address="") | (Q(user__isnull=True) & ~Q(address="")),
                name="recipient_is_user_or_address",
            ),
        ]

    def __str__(self):
        return str(self.user) if self.user_id else self.address


class ReportMail(models.Model):
    """A report on its way to one recipient for one due time."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        SENDING = "sending", _("being sent")
        SENT = "sent", _("sent")
        SKIPPED = "skipped", _("not sent")
        FAILED = "failed", _("failed")

    saved = models.ForeignKey(SavedReport, models.CASCADE, related_name="mails")
    recipient = models.ForeignKey(ReportRecipient, models.CASCADE, related_name="mails")
    due_at = models.DateTimeField(_("due"))
    state = models.TextField(_("state"), choices=State, default=State.WAITING)
    tries = models.SmallIntegerField(default=0)
    try_at = models.DateTimeField()
    detail = models.TextField(_("detail"), blank=True, default="")
    settled_at = models.DateTimeField(_("settled"), null=True)

    class Meta:
        verbose_name = _("mailed report")
        verbose_name_plural = _("mailed reports")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["recipient", "due_at"], name="one_mail_per_due_time"),
        ]
        indexes = [
            models.Index(
                fields=["try_at"], condition=Q(state__in=["waiting", "sending"]), name="report_mail_waiting"
            ),
        ]


def address_of(recipient: ReportRecipient) -> str:
    """Where the recipient's mail goes; empty for a user without an address."""
    if recipient.user is None:
        return recipient.address
    user: AbstractBaseUser = recipient.user
    return str(getattr(user, "email", "") or "")
