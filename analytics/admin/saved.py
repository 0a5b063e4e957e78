"""Saved reports in the admin, with their schedule and who gets them."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from analytics.admin import saved_views
from analytics.models import ReportMail, ReportRecipient, SavedReport
from analytics.models.saved import MAIL_OTHERS, MAIL_OUTSIDE
from analytics.reporting import query as queries
from analytics.reporting import registry, writing
from analytics.saved import clock, mailing, store

SHOWN_MAILS = 10


class RecipientForm(forms.ModelForm):
    """Either a user or an address."""

    def clean(self) -> dict[str, Any]:
        """One of both, and not neither."""
        cleaned = super().clean() or self.cleaned_data
        if bool(cleaned.get("user")) == bool(cleaned.get("address")) and not self.errors:
            raise ValidationError(_("Choose a user, or type an address."))
        user = cleaned.get("user")
        if user is not None and not user.email:
            self.add_error("user", _("This user has no email address."))
        return cleaned


class Recipients(TabularInline):
    """Who gets it: whoever may not mail others has themselves to choose alone."""

    model = ReportRecipient
    form = RecipientForm
    extra = 0
    readonly_fields = ["left"]
    verbose_name_plural = gettext_lazy("Who gets it")

    def get_fields(self, request: HttpRequest, obj: SavedReport | None = None) -> list[str]:
        """Typed addresses only for who may send to any."""
        typed = ["address"] if request.user.has_perm(MAIL_OUTSIDE) else []
        return ["user", *typed, "language", "left"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReportRecipient]:
        """Those that the reader may decide about."""
        found = super().get_queryset(request).select_related("user")
        if not request.user.has_perm(MAIL_OTHERS):
            return found.filter(user=request.user)
        return found if request.user.has_perm(MAIL_OUTSIDE) else found.exclude(user=None)

    def formfield_for_foreignkey(self, field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Only users who get into the admin, and have somewhere to be written to."""
        if field.name == "user":
            users = get_user_model()._default_manager.filter(is_active=True, is_staff=True)
            users = users.order_by("username")
            if not request.user.has_perm(MAIL_OTHERS):
                users = users.filter(pk=request.user.pk)
            kwargs["queryset"] = users
        return super().formfield_for_foreignkey(field, request, **kwargs)

    def formfield_for_dbfield(self, field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Without ways to change users from here."""
        found = super().formfield_for_dbfield(field, request, **kwargs)
        if field.name == "user":
            for verb in ("add", "change", "delete", "view"):
                setattr(found.widget, f"can_{verb}_related", False)
        return found

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may change the report."""
        may = request.user.has_perm("analytics.change_savedreport")
        return may and (obj is None or store.may_change(request.user, obj))

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission

    @display(description=gettext_lazy("wanted no more"))
    def left(self, recipient: ReportRecipient) -> str:
        """When they had themselves taken off."""
        return _moment(recipient.left_at)


@admin.register(SavedReport)
class SavedReportAdmin(ModelAdmin):
    """What people keep. New ones are made on the reports' own pages."""

    list_display = ["title", "shown_report", "shown_owner", "shared", "sends", "next", "state"]
    list_filter = ["every", "shared"]
    list_filter_submit = True
    search_fields = ["name"]
    list_select_related = ["owner"]
    inlines = [Recipients]
    actions_submit_line = ["mail_me"]
    warn_unsaved_form = True
    conditional_fields: ClassVar = {
        "weekday": "every == 'week'",
        "day": "every == 'month'",
        **dict.fromkeys(("at", "attach", "only", "paused", "next", "trouble"), "every != ''"),
    }
    list_empty = gettext_lazy(
        "Open a report, choose what it shows and save it under a name: it is found here, and can come by email."
    )
    readonly_fields = ["shows", "shown_owner", "next", "lately", "trouble"]
    fieldsets = [
        (None, {"fields": ["shows", ("name", "shared"), "shown_owner"]}),
        (
            gettext_lazy("By email"),
            {
                "fields": [
                    ("every", "at"),
                    ("weekday", "day"),
                    ("attach", "only"),
                    "paused",
                    "next",
                    "trouble",
                    "lately",
                ]
            },
        ),
    ]

    def get_urls(self) -> list[URLPattern]:
        """With what the reports' pages call."""
        view = self.admin_site.admin_view
        return [
            path("of/<slug:slug>/export.<slug:form>", view(saved_views.export), name="report_export"),
            path("of/<slug:slug>/save/", view(saved_views.save), name="report_save"),
            *super().get_urls(),
        ]

    def get_fieldsets(self, request: HttpRequest, obj: SavedReport | None = None) -> Any:
        """To whom it went, and what their mail servers told, is for whoever may change it."""
        found = super().get_fieldsets(request, obj)
        return found if self.has_change_permission(request, obj) else found[:1]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SavedReport]:
        """Those that the reader may see."""
        return super().get_queryset(request).filter(pk__in=store.visible(request.user).values("pk"))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With what has gone of all that the page shows, asked once."""
        found = super().get_changelist_instance(request)
        problems = store.gone(found.result_list)
        for saved in found.result_list:
            told = saved.last_error if store.may_change(request.user, saved) else ""
            saved.problem = problems.get(saved.pk, "") or told
        return found

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They are saved where they are seen."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: SavedReport | None = None) -> bool:
        """Its owner, and whoever looks after everybody's."""
        return super().has_change_permission(request, obj) and (
            obj is None or store.may_change(request.user, obj)
        )

    def has_delete_permission(self, request: HttpRequest, obj: SavedReport | None = None) -> bool:
        """As changing."""
        return super().has_delete_permission(request, obj) and (
            obj is None or store.may_change(request.user, obj)
        )

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """None: deleting many would not ask whose they are."""
        return {}

    def save_model(self, request: HttpRequest, obj: SavedReport, form: Any, change: bool) -> None:
        """With when it is due next."""
        if {"every", "weekday", "day", "at", "paused"} & set(form.changed_data):
            store.plan(obj)
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """What is to be sent, and to nobody yet, comes to whoever says so."""
        super().save_related(request, form, formsets, change)
        saved = form.instance
        if saved.every and not saved.recipients.exists():
            if not request.user.email:
                messages.warning(request, _("Nobody gets it yet: your user has no email address."))
                return
            saved.recipients.create(user=request.user, language=get_language())
            messages.info(request, _("It comes to you. Others can be added below."))

    @action(description=gettext_lazy("Save and mail it to me now"), permissions=["mail_me"])
    def mail_me(self, request: HttpRequest, obj: SavedReport) -> None:
        """A try, by the same way as all others."""
        try:
            mailing.send_now(obj, request.user, get_language())
        except mailing.NotMailed as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _("It is on its way to %s.") % request.user.email)

    def has_mail_me_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may change saved reports."""
        return request.user.has_perm("analytics.change_savedreport")

    @display(description=gettext_lazy("name"), ordering="name")
    def title(self, saved: SavedReport) -> str:
        return saved.name

    @display(description=gettext_lazy("report"), ordering="report")
    def shown_report(self, saved: SavedReport) -> str:
        report = registry.reports().get(saved.report)
        return str(report.title) if report else saved.report

    @display(description=gettext_lazy("of"), ordering="owner")
    def shown_owner(self, saved: SavedReport) -> str:
        return saved.owner.get_username() if saved.owner else "–"

    @display(description=gettext_lazy("by email"), ordering="every")
    def sends(self, saved: SavedReport) -> str:
        if not saved.every:
            return "–"
        return _("paused") if saved.paused else saved.get_every_display()

    @display(description=gettext_lazy("next"), ordering="next_at")
    def next(self, saved: SavedReport) -> str:
        return _moment(clock.planned(saved))

    @display(description=gettext_lazy("problem"))
    def state(self, saved: SavedReport) -> SafeString | str:
        """What is wrong with it."""
        return _problem(saved.problem)  # type: ignore[attr-defined]

    @display(description=gettext_lazy("problem"))
    def trouble(self, saved: SavedReport) -> SafeString | str:
        """Why the last one did not go out."""
        return _problem(saved.last_error)

    @display(description=gettext_lazy("shows"))
    def shows(self, saved: SavedReport) -> SafeString | str:
        """The report, its period and its filters, with the way to it."""
        if problem := store.gone([saved]).get(saved.pk):
            return _problem(problem)
        report = registry.reports()[saved.report]
        try:
            query = queries.parse(report, saved.params)
        except queries.QueryError as error:
            return _problem(str(error))
        words = [str(report.title), writing.period_in_words(query)]
        words += [f"{label}: {text}" for _name, label, text in writing.filters_in_words(report, query)]
        return format_html(
            '<a href="{}" class="text-primary-600 dark:text-primary-500 underline"><bdi>{}</bdi></a>',
            store.url(saved.report, saved.params),
            " · ".join(words),
        )

    @display(description=gettext_lazy("lately"))
    def lately(self, saved: SavedReport) -> SafeString | str:
        """What became of the last mails."""
        rows = (
            ReportMail.objects.filter(saved=saved)
            .select_related("recipient__user")
            .order_by("-due_at", "-pk")[:SHOWN_MAILS]
        )
        lines = [
            (_moment(row.due_at), str(row.recipient), row.get_state_display(), row.detail) for row in rows
        ]
        if not lines:
            return _("Nothing was sent yet.")
        items = format_html_join("", "<li>{}: <bdi>{}</bdi>, {} {}</li>", lines)
        return format_html('<ul class="nudge-plain-list">{}</ul>', items)


def _problem(words: str) -> SafeString | str:
    return format_html('<span class="nudge-problem">{}</span>', words) if words else "–"


def _moment(at: Any) -> str:
    return date_format(localtime(at), "SHORT_DATETIME_FORMAT") if at else "–"
