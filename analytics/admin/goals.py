"""Goals and rates of exchange in the admin."""

from typing import Any

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
from analytics.written import count, percent
from crm import audit


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
    readonly_fields = ["lately", "state"]
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
        (gettext_lazy("Lately"), {"fields": ["lately", "state"]}),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Goal | None = None) -> Any:
        """A new goal has nothing to show yet."""
        return self.fieldsets if obj else self.fieldsets[:-1]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Goal | None = None) -> Any:
        """What the API knows it by does not change by itself."""
        return {} if obj else self.prepopulated_fields

    def get_urls(self) -> list[URLPattern]:
        """How far credits are made anew, for a page that stays open."""
        view = self.admin_site.admin_view(self.progress)
        return [path("<int:pk>/progress/", view, name="analytics_goal_progress"), *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: Goal, form: Any, change: bool) -> None:
        """With what follows from it: credits of before are made anew."""
        if recompute.save(obj):
            messages.info(
                request, _("Reports are brought in line with it; the progress is shown with the goal.")
            )

    def progress(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The line that tells how far it is."""
        goal = get_object_or_404(Goal, pk=pk)
        if not self.has_view_permission(request, goal):
            raise PermissionDenied
        return HttpResponse(self.state(goal))

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

    @display(description=gettext_lazy("in the last 30 days"))
    def lately(self, goal: Goal) -> str:
        found = preview.look(goal)
        if not found.events:
            return _("No conversions in the last 30 days.")
        words = ngettext(
            "%(events)s conversion of %(people)s; messages have the credit for %(credited)s.",
            "%(events)s conversions of %(people)s; messages have the credit for %(credited)s.",
            found.events,
        )
        people = ngettext("%s person", "%s people", found.people) % count(found.people)
        events = count(found.events) if not found.more else _("More than %s") % count(found.events - 1)
        return words % {"events": events, "people": people, "credited": count(found.credited)}

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
