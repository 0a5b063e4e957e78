"""What people wrote to us, the words that mean something in it, and WhatsApp's templates."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from crm import masking
from crm.admin.base import BigTableAdmin, ReadOnly
from delivery import channels
from delivery.channels.phones import PhoneChannel
from delivery.models import Account, InboundMessage, Keywords, WhatsAppTemplate
from delivery.providers.base import ProviderError
from delivery.whatsapp import templates

MEANINGS = {"stop": "danger", "start": "success", "help": "info"}
STATES = {"approved": "success", "pending": "info", "paused": "warning", "rejected": "danger"}
REFRESH = "delivery.change_whatsapptemplate"
MAX_ANSWER = 480  # characters: three parts in the plainest alphabet


@admin.register(InboundMessage)
class InboundMessageAdmin(ReadOnly, BigTableAdmin):
    list_display = ["at", "sender", "profile", "channel", "short_text", "shown_meaning", "reply"]
    list_filter = ["channel", "meaning", "reply", "account"]
    list_select_related = ["profile", "account"]
    search_fields = ["=address"]
    search_help_text = gettext_lazy("A number such as +48221234567")
    ordering = ["-at"]
    fields = ["at", "account", "address", "profile", "text", "meaning", "reply", "reply_text", "received_at"]

    @display(description=gettext_lazy("from"))
    def sender(self, row: InboundMessage) -> Any:
        """The number, from left to right in every language."""
        return format_html('<bdi dir="ltr">{}</bdi>', masking.contact("phone", row.address))

    @display(description=gettext_lazy("text"))
    def short_text(self, row: InboundMessage) -> Any:
        """Its beginning, in its own direction."""
        text = masking.contact("text", row.text) or ""
        text = text if len(text) <= 80 else f"{text[:79]}…"
        return format_html('<bdi dir="auto">{}</bdi>', text)

    @display(description=gettext_lazy("understood as"), label=MEANINGS)
    def shown_meaning(self, row: InboundMessage) -> Any:
        """A coloured word; nothing for everything else."""
        return (row.meaning, row.get_meaning_display()) if row.meaning else None


class AnswersField(forms.CharField):
    """Answers to one word by language, one "pl = …" a line; a line without a language is for everybody else."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3, "dir": "auto"})

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return "\n".join(f"{language} = {text}" if language else text for language, text in value.items())

    def to_python(self, value: Any) -> Any:
        found = {}
        for line in str(value or "").splitlines():
            language, equals, text = line.partition("=")
            tag = language.strip().lower()
            known = bool(equals) and len(tag) <= 12 and tag.replace("-", "").isalnum()
            if words := (text if known else line).strip():
                found[tag if known else ""] = words
        return found

    def validate(self, value: Any) -> None:
        super().validate(value)
        if any(len(text) > MAX_ANSWER for text in value.values()):
            raise forms.ValidationError(_("longer than %d characters") % MAX_ANSWER)


class KeywordsForm(forms.ModelForm):
    """Words and answers of one channel."""

    channel = forms.ChoiceField(label=gettext_lazy("Channel"), widget=UnfoldAdminSelectWidget)
    stop_answer = AnswersField(
        label=gettext_lazy("Answer to who left"),
        required=False,
        help_text=gettext_lazy(
            "One a line: pl = …; without a language for everybody else. Empty: our words."
        ),
    )
    start_answer = AnswersField(label=gettext_lazy("Answer to who came back"), required=False)
    help_answer = AnswersField(label=gettext_lazy("Answer to who asks for help"), required=False)

    class Meta:
        model = Keywords
        fields = ["channel", "stop", "start", "help", "answers"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "channel" not in self.fields:  # for those who may only look
            return
        self.fields["channel"].choices = [
            (kind, channel.label)
            for kind, channel in channels.everything().items()
            if isinstance(channel, PhoneChannel)
        ]
        for meaning in ("stop", "start", "help"):
            self.fields[f"{meaning}_answer"].initial = {
                language: texts[meaning]
                for language, texts in self.instance.texts.items()
                if texts.get(meaning)
            }

    def save(self, commit: bool = True) -> Any:
        """With the answers by language."""
        texts: dict[str, dict[str, str]] = {}
        for meaning in ("stop", "start", "help"):
            for language, text in self.cleaned_data[f"{meaning}_answer"].items():
                texts.setdefault(language, {})[meaning] = text
        self.instance.texts = texts
        return super().save(commit)


@admin.register(Keywords)
class KeywordsAdmin(ModelAdmin):
    form = KeywordsForm
    list_display = ["channel_name", "answers"]
    list_display_links = ["channel_name"]
    formfield_overrides = {
        models.TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3, "dir": "auto"})}
    }
    fieldsets = [
        (
            None,
            {
                "fields": ["channel", ("stop", "start", "help")],
                "description": gettext_lazy(
                    "Besides the usual words in many languages, such as STOP and REZYGNUJĘ. A message counts only"
                    " if it is such a word and nothing else."
                ),
            },
        ),
        (
            gettext_lazy("Answers"),
            {"fields": ["answers", "stop_answer", "start_answer", "help_answer"]},
        ),
    ]

    @display(description=gettext_lazy("channel"))
    def channel_name(self, row: Keywords) -> str:
        """As marketers call it."""
        known = channels.everything().get(row.channel)
        return str(known.label) if known else row.channel


@admin.register(WhatsAppTemplate)
class WhatsAppTemplateAdmin(ReadOnly, ModelAdmin):
    list_display = ["name", "language", "category", "shown_state", "words", "account", "synced_at"]
    list_filter = ["state", "account", "language"]
    list_select_related = ["account"]
    search_fields = ["name"]
    change_list_template = "admin/delivery/whatsapp_templates.html"
    fields = [
        "name",
        "language",
        "category",
        "state",
        "reason",
        "words",
        "account",
        "external_id",
        "synced_at",
    ]
    readonly_fields = ["words"]

    def get_urls(self) -> list[URLPattern]:
        """Reading them anew."""
        view = self.admin_site.admin_view(require_POST(self.refresh))
        return [path("refresh/", view, name="delivery_whatsapptemplate_refresh"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With the button for those who may press it."""
        return super().changelist_view(
            request, {**(extra_context or {}), "may_refresh": request.user.has_perm(REFRESH)}
        )

    @display(description=gettext_lazy("state"), label=STATES)
    def shown_state(self, row: WhatsAppTemplate) -> tuple[str, str]:
        """As a coloured word."""
        return row.state, row.get_state_display()

    @display(description=gettext_lazy("text"))
    def words(self, row: WhatsAppTemplate) -> Any:
        """What it says, with its places."""
        return format_html('<bdi dir="auto">{}</bdi>', templates.part(row.components, "BODY").get("text", ""))

    def refresh(self, request: HttpRequest) -> HttpResponse:
        """Read the templates of every account anew."""
        if not request.user.has_perm(REFRESH):
            raise PermissionDenied
        accounts = Account.objects.filter(channel="whatsapp", state=Account.State.ACTIVE)
        for account in accounts:
            try:
                number = templates.refresh(account)
            except ProviderError as error:
                messages.error(request, f"{account.name}: {error}")
            else:
                told = ngettext(
                    "%(account)s has %(number)d template.", "%(account)s has %(number)d templates.", number
                )
                messages.success(request, told % {"account": account.name, "number": number})
        if not accounts:
            messages.warning(request, _("There is no sending account for WhatsApp yet."))
        return redirect(reverse("admin:delivery_whatsapptemplate_changelist"))
