"""Goals and rates of exchange in the admin."""

import copy
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import Min, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from analytics.admin.goal_forms import FILTERS, VIEWS, GoalForm, RateForm, RatesForm
from analytics.goals import preview, rates, recompute
from analytics.models import ExchangeRate, Goal
from analytics.written import amounts, count, money, percent
from crm import audit, log


@admin.register(Goal)
class GoalAdmin(ModelAdmin):
    """What counts as success, in words."""

    form = GoalForm
    list_display = ["title", "shown_model", "shown_windows", "active", "state"]
    list_filter = ["active"]
    search_fields = ["name", "slug", "event"]
    list_empty = gettext_lazy(
        "A goal is something that people should do, such as a purchase. Reports divide what it brings among the"
        " messages that led to it."
    )
    warn_unsaved_form = True
    prepopulated_fields = {"slug": ["name"]}
    readonly_fields = ["state"]
    change_form_after_template = "admin/analytics/goal_form_after.html"
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    fieldsets = [
        (None, {"fields": [("name", "slug"), "active"]}),
        (
            gettext_lazy("Somebody reaches it when"),
            {"fields": ["event", *FILTERS, "counting"]},
        ),
        (
            gettext_lazy("What it is worth"),
            {"fields": ["value_property", ("currency_property", "currency")]},
        ),
        (
            gettext_lazy("Which messages have the credit"),
            {"fields": ["default_model", ("click_hours", "open_hours"), *VIEWS]},
        ),
        (gettext_lazy("Credits"), {"fields": ["state"]}),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Goal | None = None) -> Any:
        """A new goal has nothing to show yet."""
        return self.fieldsets if obj else self.fieldsets[:-1]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Goal | None = None) -> Any:
        """What the API knows it by does not change by itself."""
        return {} if obj else self.prepopulated_fields

    def get_urls(self) -> list[URLPattern]:
        """How far credits are made anew, for a page that stays open."""
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/progress/", wrap(self.progress), name="analytics_goal_progress"),
            path("preview/", wrap(self.preview), name="analytics_goal_preview"),
            *super().get_urls(),
        ]

    def save_model(self, request: HttpRequest, obj: Goal, form: Any, change: bool) -> None:
        """With what follows from it: credits of before are made anew."""
        if recompute.save(obj):
            messages.info(
                request, _("Reports are brought in line with it; the progress is shown with the goal.")
            )

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Goal) -> None:
        """While nothing is credited to it."""
        log.hold(recompute.CURSOR)
        super().delete_model(request, obj)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Goal]) -> None:
        """While nothing is credited to them."""
        log.hold(recompute.CURSOR)
        super().delete_queryset(request, queryset)

    def progress(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The line that tells how far it is."""
        goal = get_object_or_404(Goal, pk=pk)
        if not self.has_view_permission(request, goal):
            raise PermissionDenied
        return HttpResponse(self.state(goal))

    def preview(self, request: HttpRequest) -> HttpResponse:
        """What the form's rule would count, beside the saved one; what is saved alone for who may not change it."""
        pk = request.GET.get("goal", "")
        saved = (
            get_object_or_404(Goal, pk=int(pk)) if pk.isascii() and pk.isdecimal() and len(pk) < 10 else None
        )
        may = self.has_change_permission(request, saved) if saved else self.has_add_permission(request)
        if not may and not (saved and self.has_view_permission(request, saved)):
            raise PermissionDenied
        context: dict[str, Any] = {"days": preview.DAYS}
        if may and request.method == "POST":
            form = GoalForm(request.POST, instance=copy.copy(saved) if saved else Goal())
            form.is_valid()
            goal = form.instance
            context["problems"] = [name for name in form.errors if name not in ("name", "slug")]
        elif saved:
            goal = saved
        else:
            raise PermissionDenied
        if not context.get("problems"):
            try:
                found = preview.look(goal, saved)
            except preview.TooSlow:
                context["slow"] = True
            else:
                first = _("As it is saved") if goal is saved else _("With this rule")
                sides = [(first, found.form), (_("As it is saved"), found.saved)]
                told = [_told(words, side) for words, side in sides if side]
                model = goal.get_default_model_display()
                context |= {"sides": told, "more": found.more, "most": count(preview.LISTED), "model": model}
        return TemplateResponse(request, "admin/analytics/goal_preview.html", context)

    @display(description=gettext_lazy("goal"), ordering="name", header=True)
    def title(self, goal: Goal) -> list[str]:
        return [goal.name, goal.event]

    @display(description=gettext_lazy("credit goes to"), ordering="default_model")
    def shown_model(self, goal: Goal) -> str:
        return goal.get_default_model_display()

    @display(description=gettext_lazy("counts within"))
    def shown_windows(self, goal: Goal) -> str:
        words = ngettext("%d hour after a click", "%d hours after a click", goal.click_hours)
        return words % goal.click_hours

    @display(description=gettext_lazy("credits"))
    def state(self, goal: Goal) -> SafeString | str:
        at = recompute.progress(goal)
        if not at.running:
            return format_html("<span>{}</span>", _("up to date"))
        text = _("being made anew: %s") % percent(at.done, 0)
        if at.upto:
            text += " · " + _("up to %s") % date_format(timezone.localtime(at.upto), "DATE_FORMAT")
        return format_html(
            '<span hx-get="{}" hx-trigger="every 2s" hx-swap="outerHTML" role="status">'
            '<progress max="1" value="{}" aria-label="{}"></progress> {}</span>',
            reverse("admin:analytics_goal_progress", args=[goal.pk]),
            f"{at.done:.3f}",
            text,
            text,
        )


def _told(words: str, side: preview.Counted) -> dict[str, Any]:
    """One side of the preview in words and numbers as people read them."""
    people = ngettext("%s person", "%s people", side.people) % count(side.people)
    currency = settings.NUDGE_CURRENCY
    return {
        "words": words,
        "events": count(side.events),
        "people": people,
        "credited": count(side.credited),
        "value": money(side.value, currency),
        "credited_value": money(side.credited_value, currency),
        "unconverted": amounts(side.unconverted),
        "messages": [
            {"name": name, "share": count(round(share, 2)), "value": money(value, currency)}
            for name, share, value in side.messages
        ],
    }


@admin.register(ExchangeRate)
class ExchangeRateAdmin(ModelAdmin):
    """Rates by day, entered one by one or pasted."""

    form = RateForm
    list_display = ["day", "currency", "rate"]
    list_filter = ["currency"]
    date_hierarchy = "day"
    list_per_page = 100
    show_full_result_count = False
    actions_list = ["paste"]
    list_empty = gettext_lazy(
        "Amounts in other currencies are converted by the rate of the day, or the last one of the month before."
        " Without one they are shown in their own currency."
    )

    @action(
        description=gettext_lazy("Paste rates"), icon="content_paste", url_path="paste", permissions=["add"]
    )
    def paste(self, request: HttpRequest) -> HttpResponse:
        """The page that takes many at once."""
        if not (self.has_add_permission(request) and self.has_change_permission(request)):
            raise PermissionDenied
        form = RatesForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            with transaction.atomic():
                rates.store(form.cleaned_data["pasted"])
                stored = len(form.cleaned_data["pasted"])
                audit.record(request, "rates.pasted", ("analytics.exchangerate", ""), rates=stored)
            messages.success(request, ngettext("%d rate is stored.", "%d rates are stored.", stored) % stored)
            return redirect("admin:analytics_exchangerate_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": _("Paste rates"),
            "opts": self.opts,
            "form": form,
        }
        return TemplateResponse(request, "admin/analytics/rates.html", context)

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: ExchangeRate, form: Any, change: bool) -> None:
        """With the amounts that it changes."""
        before = ExchangeRate.objects.filter(pk=obj.pk).values_list("day", flat=True).first()
        super().save_model(request, obj, form, change)
        rates.changed(min(obj.day, before or obj.day))

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: ExchangeRate) -> None:
        """With the amounts that it changes."""
        day = obj.day
        super().delete_model(request, obj)
        rates.changed(day)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ExchangeRate]) -> None:
        """With the amounts that they change."""
        first = queryset.aggregate(first=Min("day"))["first"]
        super().delete_queryset(request, queryset)
        if first:
            rates.changed(first)
