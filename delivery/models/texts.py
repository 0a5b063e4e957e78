"""What people write back, the words that mean something in it, and the templates that WhatsApp has approved."""

from django.db import models
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models import Profile
from crm.models.outlined import Outlined
from delivery.models.providers import Account


class InboundMessage(Outlined):
    """Something that somebody wrote to one of our numbers. Kept also of numbers that nobody known has.

    `profile` is one of those who have the number: where several do, the log tells it of each. `reply` is what became of
    our answer, which is sent at most once.
    """

    contact_data = {"address": "phone", "text": "text"}

    class Meaning(models.TextChoices):
        NONE = "", _("something else")
        STOP = "stop", _("leave")
        START = "start", _("come back")
        HELP = "help", _("help")

    class Reply(models.TextChoices):
        NONE = "none", _("none")
        WAITING = "waiting", _("waiting")
        SENDING = "sending", _("begun")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")

    account = models.ForeignKey(
        Account, models.CASCADE, related_name="inbound", db_index=False, verbose_name=_("account")
    )
    key = models.TextField(editable=False)
    channel = models.TextField(_("channel"))
    address = models.TextField(_("from"))
    profile = models.ForeignKey(
        Profile, models.CASCADE, null=True, related_name="inbound", verbose_name=_("profile")
    )
    text = models.TextField(_("text"), blank=True, default="")
    meaning = models.TextField(_("understood as"), choices=Meaning, blank=True, default="")
    language = models.TextField(_("language of the word"), blank=True, default="")
    reply = models.TextField(_("reply"), choices=Reply, default=Reply.NONE)
    reply_text = models.TextField(_("words of the reply"), blank=True, default="")
    at = models.DateTimeField(_("when"))
    received_at = models.DateTimeField(_("received"), db_default=Now())

    class Meta:
        verbose_name = _("message from a person")
        verbose_name_plural = _("messages from people")
        constraints = [models.UniqueConstraint(fields=["account", "key"], name="inbound_messages_once")]
        indexes = [
            models.Index("channel", "address", F("at").desc(), name="inbound_by_address"),
            models.Index(F("at").desc(), name="inbound_by_time"),
            models.Index(fields=["id"], condition=models.Q(reply="waiting"), name="inbound_reply_waiting"),
        ]

    def __str__(self):
        return f"{self._meta.verbose_name} {self.pk}"


class Keywords(models.Model):
    """Words of one channel besides the usual ones by which people leave, come back and ask for help, and our answers.

    `texts` holds {language: {"stop": …, "start": …, "help": …}}; what is missing is said in our words.
    """

    channel = models.TextField(_("channel"), unique=True)
    stop = models.TextField(_("words to leave"), blank=True, default="", help_text=_("One a line."))
    start = models.TextField(_("words to come back"), blank=True, default="", help_text=_("One a line."))
    help = models.TextField(_("words that ask for help"), blank=True, default="", help_text=_("One a line."))
    answers = models.BooleanField(
        _("answer"),
        default=True,
        db_default=True,
        help_text=_("Confirm once that somebody left or came back, and answer who asks for help."),
    )
    texts = models.JSONField(_("answers by language"), default=dict, blank=True)

    class Meta:
        verbose_name = _("keywords")
        verbose_name_plural = _("keywords")
        ordering = ["channel"]

    def __str__(self):
        return self.channel


class WhatsAppTemplate(models.Model):
    """A template of one account as its provider told it. `components` has Meta's shape, whoever the provider is."""

    class State(models.TextChoices):
        APPROVED = "approved", _("approved")
        PENDING = "pending", _("being looked at")
        PAUSED = "paused", _("paused")
        REJECTED = "rejected", _("rejected")
        OTHER = "other", _("not usable")
        GONE = "gone", _("deleted at the provider")

    account = models.ForeignKey(
        Account, models.CASCADE, related_name="templates", db_index=False, verbose_name=_("account")
    )
    external_id = models.TextField(_("number at the provider"))
    name = models.TextField(_("name"))
    language = models.TextField(_("language"))
    category = models.TextField(_("category"), blank=True, default="")
    state = models.TextField(_("state"), choices=State)
    reason = models.TextField(_("reason"), blank=True, default="")
    components = models.JSONField(_("parts"), default=list)
    synced_at = models.DateTimeField(_("read"))

    class Meta:
        verbose_name = _("WhatsApp template")
        verbose_name_plural = _("WhatsApp templates")
        ordering = ["name", "language"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "name", "language"], name="one_template_per_name_and_language"
            )
        ]

    def __str__(self):
        return f"{self.name} ({self.language})"
