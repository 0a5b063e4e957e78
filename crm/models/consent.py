"""What people agreed to, with the proof; what they may choose; and whom nobody may write to."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.outlined import Outlined
from crm.models.profiles import Profile
from crm.models.uploads import Upload


class LegalBasis(models.TextChoices):
    """Why we may write to somebody (GDPR, article 6.1 a, b and f)."""

    CONSENT = "consent", _("consent")
    CONTRACT = "contract", _("contract")
    LEGITIMATE_INTEREST = "legitimate_interest", _("legitimate interest")


class ConsentFields(Outlined):
    class Kind(models.TextChoices):
        CHANNEL = "channel", _("channel")
        TOPIC = "topic", _("topic")

    class State(models.TextChoices):
        SUBSCRIBED = "subscribed", _("subscribed")
        PENDING = "pending", _("not confirmed yet")
        UNSUBSCRIBED = "unsubscribed", _("unsubscribed")

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+")
    kind = models.TextField(_("for a"), choices=Kind)
    key = models.TextField(_("name"), help_text=_("The channel's or topic's name, such as webpush."))
    state = models.TextField(_("state"), choices=State)
    source = models.TextField(_("source"), help_text=_("Who changed it: sdk, api, crm, admin, person …"))
    wording = models.TextField(_("wording shown"), blank=True, default="")
    wording_version = models.TextField(
        _("version of the wording"), blank=True, default="", db_default="", help_text=_("Such as 2026-03.")
    )
    legal_basis = models.TextField(
        _("legal basis"), choices=LegalBasis, default=LegalBasis.CONSENT, db_default="consent"
    )
    proof = models.JSONField(
        _("proof"),
        default=dict,
        db_default={},
        blank=True,
        help_text=_("The page, the browser, the language and a fingerprint of the address."),
    )
    changed_at = models.DateTimeField(_("changed"))

    contact_data = {"proof": "data"}

    class Meta:
        abstract = True


class Consent(ConsentFields):
    """The present answer of one person for one channel or topic. No row means: never asked."""

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="consents")

    class Meta:
        verbose_name = _("consent")
        verbose_name_plural = _("consents")
        constraints = [
            models.UniqueConstraint(
                fields=["profile", "kind", "key"], name="one_consent_per_channel_or_topic"
            )
        ]

    def __str__(self):
        return f"{self.key}: {self.get_state_display()}"


class ConsentChange(ConsentFields):
    """One entry of the append-only ledger behind Consent.

    A trigger refuses to change or delete one. Only a merge (or its undoing) that is on record moves entries to
    another profile; whoever erases a person says so with `consent.ledger_opened`.
    """

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="consent_changes")

    class Meta:
        verbose_name = _("consent change")
        verbose_name_plural = _("consent changes")
        indexes = [models.Index(fields=["profile", "changed_at"], name="consent_change_by_profile")]


class Topic(models.Model):
    """Something to write about, which people can take or leave apart from the channel.

    `translations` holds {language: {"name": …, "description": …}}.
    """

    slug = models.SlugField(_("short name"), unique=True, help_text=_("What messages and the API call it."))
    name = models.TextField(_("name"))
    description = models.TextField(
        _("description"), blank=True, default="", help_text=_("What people get, and how often.")
    )
    translations = models.JSONField(_("translations"), default=dict, blank=True)
    position = models.PositiveIntegerField(_("position"), default=0)
    shown = models.BooleanField(
        _("people may choose it"), default=True, help_text=_("Shown on everybody's preference page.")
    )
    needs_yes = models.BooleanField(
        _("needs a yes"),
        default=False,
        help_text=_("Otherwise those who agreed to the channel get it until they say no."),
    )
    double_opt_in = models.BooleanField(
        _("double opt-in"), default=False, help_text=_("A yes counts once it was confirmed by a link.")
    )
    legal_basis = models.TextField(_("legal basis"), choices=LegalBasis, default=LegalBasis.CONSENT)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("topic")
        verbose_name_plural = _("topics")
        ordering = ["position", "name"]

    def __str__(self):
        return self.name


class ChannelTerms(models.Model):
    """On which terms people are written to by one channel. A channel without a row has the usual ones."""

    channel = models.TextField(_("channel"), unique=True)
    double_opt_in = models.BooleanField(
        _("double opt-in"), default=False, help_text=_("A yes counts once it was confirmed by a link.")
    )
    legal_basis = models.TextField(_("legal basis"), choices=LegalBasis, default=LegalBasis.CONSENT)

    class Meta:
        verbose_name = _("channel's terms")
        verbose_name_plural = _("channels' terms")
        ordering = ["channel"]

    def __str__(self):
        return self.channel


class Preference(models.Model):
    """How one person wants to be written to. `frequencies` holds {topic: weekly or important}; others are all.

    Quiet hours run from `quiet_from` to `quiet_to` by the person's own clock, past midnight if need be.
    """

    class Frequency(models.TextChoices):
        ALL = "all", _("everything")
        WEEKLY = "weekly", _("at most once a week")
        IMPORTANT = "important", _("only what is important")

    profile = models.OneToOneField(Profile, models.CASCADE, related_name="preference")
    frequencies = models.JSONField(_("how often, by topic"), default=dict, blank=True)
    quiet_from = models.TimeField(_("quiet from"), null=True, blank=True)
    quiet_to = models.TimeField(_("quiet until"), null=True, blank=True)
    channel = models.TextField(_("preferred channel"), blank=True, default="")
    changed_at = models.DateTimeField(_("changed"))

    class Meta:
        verbose_name = _("preference")
        verbose_name_plural = _("preferences")
        constraints = [
            models.CheckConstraint(
                condition=Q(quiet_from__isnull=True, quiet_to__isnull=True)
                | Q(quiet_from__isnull=False, quiet_to__isnull=False) & ~Q(quiet_from=F("quiet_to")),
                name="quiet_hours_begin_and_end",
            )
        ]


class Suppression(Outlined):
    """An address nobody may write to, whatever the consent says. The channel "all" stands for every one."""

    contact_data = {"address": "address"}

    ALL = "all"

    channel = models.TextField(_("channel"))
    address = models.TextField(_("address"))
    reason = models.TextField(_("reason"))
    source = models.TextField(_("source"), blank=True, default="", db_default="", editable=False)
    created_at = models.DateTimeField(_("since"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("suppressed address")
        verbose_name_plural = _("suppressed addresses")
        permissions = [("export_suppression", _("Can export suppressed addresses"))]
        constraints = [
            models.UniqueConstraint(fields=["channel", "address"], name="an_address_is_suppressed_once")
        ]

    def __str__(self):
        return f"{self.channel} {self.address}"


class ListImport(models.Model):
    """One CSV file of consents or suppressed addresses being read in.

    `line` is the last row that was dealt with: it is written together with what the rows say, so that a reader
    who dies is followed by one who goes on from there. `problems` holds the first rows that were not taken.
    """

    class Kind(models.TextChoices):
        CONSENTS = "consents", _("consents")
        SUPPRESSIONS = "suppressions", _("suppressed addresses")

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        RUNNING = "running", _("being read")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    kind = models.TextField(_("what"), choices=Kind)
    upload = models.ForeignKey(Upload, models.SET_NULL, null=True, related_name="+")
    name = models.TextField(_("file"))
    state = models.TextField(_("state"), choices=State, default=State.WAITING)
    error = models.TextField(_("error"), blank=True, default="")
    rows = models.PositiveIntegerField(_("rows"), default=0)
    line = models.PositiveIntegerField(_("rows read"), default=0)
    taken = models.PositiveIntegerField(_("taken"), default=0)
    changed = models.PositiveIntegerField(_("changed"), default=0)
    rejected = models.PositiveIntegerField(_("rejected"), default=0)
    problems = models.JSONField(_("rejected rows"), default=list, blank=True)
    started_by = models.TextField(_("by"), blank=True, default="")
    created_at = models.DateTimeField(_("started"), db_default=Now(), editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("list import")
        verbose_name_plural = _("list imports")

    def __str__(self):
        return self.name
