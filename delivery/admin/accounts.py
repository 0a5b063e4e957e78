"""Sending accounts: which provider carries which channel, how it does, and ways to set one up and try it."""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from delivery import accounts, breaker, channels, providers
from delivery.admin.account_forms import SetupForm
from delivery.models import Account, Attempt
from delivery.providers.base import Provider, ProviderError

LATEST = 5000  # attempts looked at for the figures of the last hour
HOUR = timedelta(hours=1)
STATES = {
    "held": ("danger", gettext_lazy("resting: the provider fails")),
    "paused": ("warning", gettext_lazy("paused")),
    "sandbox": ("warning", gettext_lazy("sandbox: nobody gets anything")),
    "spare": ("info", gettext_lazy("not used by default")),
    "active": ("success", gettext_lazy("active")),
}
Figures = dict[int, tuple[int, int]]


@admin.register(Account)
class AccountAdmin(ModelAdmin):
    list_display = ["title", "channel_label", "shown_state", "used_for", "per_second", "last_hour"]
    list_display_links = ["title"]
    ordering = ["channel", "name"]
    sortable_by = ["title"]
    actions = None
    list_before_template = "admin/delivery/sandbox/before_list.html"
    list_empty = gettext_lazy(
        "An account says by which service a channel's messages go. The sandbox needs none."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Without credentials, which no page shows."""
        return super().get_queryset(request).defer("credentials")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An account is paused instead: the ledger says by whom messages went."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """The pages and buttons of an account."""
        wrap = self.admin_site.admin_view
        return [
            path("test/", wrap(self.test_view), name="delivery_account_test"),
            path("<int:pk>/pause/", wrap(self.pause_view), name="delivery_account_pause"),
            path("<int:pk>/release/", wrap(self.release_view), name="delivery_account_release"),
            *super().get_urls(),
        ]

    # --- List ------------------------------------------------------------------------------------------
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With the figures of all accounts of this page, in one query."""
        response = super().changelist_view(request, extra_context)
        listed = getattr(response, "context_data", None) or {}
        if "cl" in listed:
            figures = last_hour()
            for account in listed["cl"].result_list:
                account.figures = figures.get(account.pk, (0, 0))
        return response

    @display(description=gettext_lazy("account"), header=True, ordering="name")
    def title(self, account: Account) -> list[str]:
        """Its name and the provider's."""
        return [account.name, _provider_label(account)]

    @display(description=gettext_lazy("channel"))
    def channel_label(self, account: Account) -> Any:
        """In words."""
        known = channels.everything().get(account.channel)
        return known.label if known else account.channel

    @display(description=gettext_lazy("state"), label={key: style for key, (style, _label) in STATES.items()})
    def shown_state(self, account: Account) -> tuple[str, Any]:
        """A chip."""
        state = state_of(account)
        return state, STATES[state][1]

    @display(description=gettext_lazy("used for"))
    def used_for(self, account: Account) -> str:
        """Its purpose."""
        return account.get_purpose_display()

    @display(description=gettext_lazy("last hour"))
    def last_hour(self, account: Any) -> str:
        """What was taken and what was not."""
        taken, failed = account.figures
        return _("%(taken)d taken, %(failed)d not") % {"taken": taken, "failed": failed}

    # --- Pages -----------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """First the channel and its provider, then what that asks for."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        channel, kind = request.GET.get("channel", ""), request.GET.get("provider", "")
        if not channel:
            cards = [
                (known, list(providers.of(name).values()))
                for name, known in channels.everything().items()
                if known.provided and known.listed
            ]
            context = self._context(request, _("Which service sends?"), cards=cards)
            return TemplateResponse(request, "admin/delivery/accounts/choose.html", context)
        return self._edit(request, _provider(channel, kind), channel, None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The account's page: how it does, and its settings for whoever may change them."""
        account = self.get_object(request, object_id)
        if account is None:
            raise Http404
        if not self.has_view_permission(request, account):
            raise PermissionDenied
        if not self.has_change_permission(request, account):
            context = self._context(request, account.name, account=account)
            return TemplateResponse(request, "admin/delivery/accounts/page.html", context)
        return self._edit(request, _provider(account.channel, account.provider), account.channel, account)

    def _edit(
        self, request: HttpRequest, provider: Provider, channel: str, account: Account | None
    ) -> HttpResponse:
        form = SetupForm(provider, channel, request.POST or None, account)
        if request.method == "POST" and form.is_valid():
            with transaction.atomic():
                kept = form.filled()
                replaced = accounts.replace_usual(kept)
                kept.save()
                accounts.opened(kept.channel)
            if account:
                self.log_change(request, kept, [{"changed": {"fields": sorted(form.changed_data)}}])
            else:
                self.log_addition(request, kept, [{"added": {}}])
            messages.success(request, _("“%s” was saved.") % kept.name)
            if replaced:
                words = {"name": kept.name, "other": ", ".join(other.name for other in replaced)}
                messages.warning(
                    request, _("“%(name)s” is used by default from now on, in place of “%(other)s”.") % words
                )
            for other in replaced:
                self.log_change(request, other, [{"changed": {"fields": ["usual"]}}])
            return redirect("admin:delivery_account_change", kept.pk)
        title = account.name if account else _("New account: %s") % provider.label
        context = self._context(
            request, title, account=account, form=form, provider=provider, channel=channel
        )
        if account:
            context["callback"] = accounts.callback_url(account)
            context["facts"] = _facts(provider, account)
        return TemplateResponse(request, "admin/delivery/accounts/page.html", context)

    def _context(self, request: HttpRequest, title: Any, **more: Any) -> dict[str, Any]:
        account = more.get("account")
        if account:
            more["state"] = state_of(account)
            more["state_label"] = STATES[more["state"]][1]
            more["figures"] = last_hour().get(account.pk, (0, 0))
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "may_change": self.has_change_permission(request),
            **more,
        }

    # --- Buttons ---------------------------------------------------------------------------------------
    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Try what is in the form, stored or not, without sending anything."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        pk = request.POST.get("account") or ""
        account = self.get_object(request, pk) if pk else None
        allowed = (
            self.has_change_permission(request, account) if account else self.has_add_permission(request)
        )
        if not allowed:
            raise PermissionDenied
        channel, kind = request.POST.get("channel", ""), request.POST.get("provider", "")
        if account:
            channel, kind = account.channel, account.provider
        provider = _provider(channel, kind)
        form = SetupForm(provider, channel, request.POST, account)
        wrong = {} if form.is_valid() else {k: v for k, v in form.errors.items() if k not in ("name", "slug")}
        if wrong:
            named = ((form.fields[name].label if name in form.fields else "", e) for name, e in wrong.items())
            result = (" ".join(f"{label}: {e[0]}" if label else str(e[0]) for label, e in named), False)
        else:
            try:
                result = (provider.check(accounts.sender(form.filled())), True)
            except ProviderError as error:
                result = (str(error), False)
        return render(request, "admin/crm/connection/test_result.html", {"result": result})

    def pause_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Stop sending by an account, or go on; its messages wait, or go by another one."""
        account = self._posted(request, pk)
        active = account.state == Account.State.ACTIVE
        account.state = Account.State.PAUSED if active else Account.State.ACTIVE
        clash = Account.objects.filter(
            channel=account.channel, purpose=account.purpose, usual=True, state=Account.State.ACTIVE
        ).exclude(pk=pk)
        if not active and account.usual and clash.exists():
            messages.error(request, _("Another account of this channel is used by default already."))
            return redirect("admin:delivery_account_change", pk)
        account.save(update_fields=["state"])
        accounts.opened(account.channel)
        self.log_change(request, account, [{"changed": {"fields": ["state"]}}])
        return redirect("admin:delivery_account_change", pk)

    def release_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send again at once by an account that rests, for who knows that its provider is well."""
        account = self._posted(request, pk)
        breaker.close(account)
        self.log_change(request, account, [{"changed": {"name": _("was told to send again")}}])
        return redirect("admin:delivery_account_change", pk)

    def _posted(self, request: HttpRequest, pk: int) -> Account:
        account = self.get_object(request, str(pk))
        if account is None:
            raise Http404
        if request.method != "POST" or not self.has_change_permission(request, account):
            raise PermissionDenied
        return account


def state_of(account: Account) -> str:
    """The key in STATES."""
    if account.state == Account.State.PAUSED:
        return "paused"
    if account.held_until and account.held_until > timezone.now():
        return "held"
    if account.provider == accounts.SANDBOX:
        return "sandbox"
    return "active" if account.usual else "spare"


def last_hour() -> Figures:
    """Return by account how many of the latest tries were taken within the hour, and how many were not."""
    latest = Attempt.objects.order_by("-pk").values("pk")[:LATEST]
    rows = (
        Attempt.objects.filter(pk__in=latest, account__isnull=False, started_at__gt=timezone.now() - HOUR)
        .values("account")
        .annotate(taken=Count("pk", Q(outcome="accepted")), every=Count("pk"))
    )
    return {row["account"]: (row["taken"], row["every"] - row["taken"]) for row in rows}


def _provider(channel: str, kind: str) -> Provider:
    try:
        return providers.get(channel, kind)
    except providers.UnknownProvider:
        raise Http404 from None


def _provider_label(account: Account) -> str:
    try:
        return str(providers.get(account.channel, account.provider).label)
    except providers.UnknownProvider:
        return account.provider


def _facts(provider: Provider, account: Account) -> list[tuple[str, str]]:
    try:
        return provider.facts(accounts.sender(account))
    except ProviderError:
        return []
