"""Coupon pools: what is offered, how many codes are left, and ways to add some."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from crm.admin.base import BigTableAdmin, ReadOnly
from crm.tables import TableError
from delivery import coupon_files, coupons, usage
from delivery.admin import deleting
from delivery.models import CouponCode, CouponPool

FILE_LIMIT = 20 * 1024 * 1024  # bytes
SHOWN = 20  # refused codes
MAKE, PASTE, FILE = "make", "paste", "file"


class CodesForm(forms.Form):
    """Codes that are made, pasted, or in a file with one code a line."""

    how = forms.ChoiceField(
        label=gettext_lazy("Codes"),
        choices=[
            (MAKE, gettext_lazy("Make them")),
            (PASTE, gettext_lazy("Paste them")),
            (FILE, gettext_lazy("Upload a file")),
        ],
        initial=MAKE,
        widget=UnfoldAdminRadioSelectWidget,
    )
    number = forms.IntegerField(
        label=gettext_lazy("How many"),
        required=False,
        min_value=1,
        max_value=coupons.MOST_MADE,
        initial=1000,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    prefix = forms.CharField(
        label=gettext_lazy("Beginning with"),
        required=False,
        max_length=50,
        widget=UnfoldAdminTextInputWidget(attrs={"dir": "ltr", "placeholder": "WELCOME-"}),
    )
    length = forms.IntegerField(
        label=gettext_lazy("Random characters"),
        required=False,
        min_value=coupons.SHORTEST_MADE,
        max_value=40,
        initial=10,
        help_text=gettext_lazy("Fewer could be guessed."),
        widget=UnfoldAdminIntegerFieldWidget,
    )
    pasted = forms.CharField(
        label=gettext_lazy("Codes, one a line"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8, "dir": "ltr"}),
    )
    file = forms.FileField(
        label=gettext_lazy("File"),
        required=False,
        help_text=gettext_lazy("Text, CSV or Excel: the column called “code”, or the first one."),
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".txt,.csv,.xlsx,text/plain,text/csv"}),
    )

    def clean(self) -> dict[str, Any]:
        """What the chosen way needs."""
        data = super().clean() or {}
        needed = {MAKE: "number", PASTE: "pasted", FILE: "file"}.get(data.get("how", ""))
        if needed and needed not in self.errors and not data.get(needed):
            self.add_error(needed, _("Fill this in."))
        file = data.get("file")
        if file is not None and file.size > FILE_LIMIT:
            self.add_error("file", _("The file is larger than %d MB; split it.") % (FILE_LIMIT // 1024**2))
        return data


class PoolForm(forms.ModelForm):
    """A pool; the same code for everybody is asked for only where it is wanted."""

    def clean(self) -> dict[str, Any]:
        """A fixed code must be one; a pool of own codes has none."""
        data = super().clean() or {}
        kind = data.get("kind", self.instance.kind)
        code = (data.get("code") or "").strip()
        if kind == CouponPool.Kind.FIXED and not code:
            self.add_error("code", _("Say which code everybody gets."))
        elif kind == CouponPool.Kind.FIXED and any(character.isspace() for character in code):
            self.add_error("code", _("A code holds no spaces and no control characters."))
        data["code"] = code if kind == CouponPool.Kind.FIXED else ""
        return data


@admin.register(CouponPool)
class CouponPoolAdmin(ModelAdmin):
    form = PoolForm
    list_display = ["title", "kind", "left", "given", "used", "expires_at"]
    list_display_links = ["title"]
    search_fields = ["name", "slug"]
    list_per_page = 50
    show_full_result_count = False
    warn_unsaved_form = True
    prepopulated_fields = {"slug": ["name"]}
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    list_empty = gettext_lazy("A pool holds the codes of one offer; a step of a flow gives them to people.")
    readonly_fields = ["stock"]
    fieldsets = [
        (None, {"fields": [("name", "slug"), ("kind", "code"), "expires_at", "low_mark"]}),
        (gettext_lazy("Use"), {"fields": [("event_name", "event_property")], "classes": ["collapse"]}),
        (gettext_lazy("Codes"), {"fields": ["stock"]}),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: CouponPool | None = None) -> Any:
        """A new pool has no codes to show yet."""
        return self.fieldsets if obj else self.fieldsets[:-1]

    def get_readonly_fields(self, request: HttpRequest, obj: CouponPool | None = None) -> Any:
        """What the codes were given by stays, and what flows call the pool."""
        if obj is None:
            return []
        named = ["slug"] if usage.uses(usage.POOL).get(obj.slug) else []
        return [*self.readonly_fields, "kind", *named]

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What flows give codes of stays, with a link to each flow; codes go with their pool."""
        pools = list(objs)
        levels = coupons.levels(pools).values()
        codes = sum(level.left + level.given for level in levels)
        counts = {
            self.opts.verbose_name_plural: len(pools),
            CouponCode._meta.verbose_name_plural: codes,
            _("codes that people have"): sum(level.given for level in levels),
        }
        return [pool.name for pool in pools], counts, set(), deleting.needed(usage.POOL, pools)

    def get_prepopulated_fields(self, request: HttpRequest, obj: CouponPool | None = None) -> Any:
        """A short name that flows refer to does not change by itself."""
        return {} if obj else self.prepopulated_fields

    def get_urls(self) -> list[URLPattern]:
        """The page that adds codes."""
        view = self.admin_site.admin_view(self.codes)
        return [path("<int:pk>/codes/", view, name="delivery_couponpool_codes"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With the numbers of the pools of this page, in one query."""
        response = super().changelist_view(request, extra_context)
        listed = getattr(response, "context_data", None) or {}
        if "cl" in listed:
            levels = coupons.levels(listed["cl"].result_list)
            for pool in listed["cl"].result_list:
                pool.level = levels.get(pool.pk, coupons.Level(0, 0, 0))
        return response

    @display(description=gettext_lazy("pool"), header=True, ordering="name")
    def title(self, pool: CouponPool) -> list[str]:
        """Name and short name."""
        return [pool.name, pool.slug]

    @display(description=gettext_lazy("left"))
    def left(self, pool: Any) -> Any:
        """Codes that can still be given."""
        return pool.level.left if pool.kind == CouponPool.Kind.UNIQUE else "∞"

    @display(description=gettext_lazy("given"))
    def given(self, pool: Any) -> int:
        """Codes that people have."""
        return pool.level.given

    @display(description=gettext_lazy("used"))
    def used(self, pool: Any) -> int:
        """Codes that came back with an event."""
        return pool.level.used

    @display(description=gettext_lazy("codes"))
    def stock(self, pool: CouponPool) -> Any:
        """The numbers, and where to add and look at codes."""
        level = coupons.levels([pool]).get(pool.pk, coupons.Level(0, 0, 0))
        listed = f"{reverse('admin:delivery_couponcode_changelist')}?pool__id__exact={pool.pk}"
        words = _("%(left)s left, %(given)s given, %(used)s used") % {
            "left": level.left if pool.kind == CouponPool.Kind.UNIQUE else "∞",
            "given": level.given,
            "used": level.used,
        }
        if pool.kind == CouponPool.Kind.FIXED:
            return format_html(
                '{} · <a class="text-link" href="{}">{}</a>', words, listed, _("Show who has it")
            )
        add = reverse("admin:delivery_couponpool_codes", args=[pool.pk])
        return format_html(
            '{} · <a class="text-link" href="{}">{}</a> · <a class="text-link" href="{}">{}</a>',
            *(words, add, _("Add codes"), listed, _("Show the codes")),
        )

    def response_add(self, request: HttpRequest, obj: CouponPool, post_url_continue: Any = None) -> Any:
        """On to the codes, which the pool needs next."""
        if obj.kind == CouponPool.Kind.UNIQUE and "_addanother" not in request.POST:
            return redirect("admin:delivery_couponpool_codes", obj.pk)
        return super().response_add(request, obj, post_url_continue)

    def codes(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Make, paste or upload codes."""
        pool = self.get_object(request, str(pk))
        if pool is None or not self.has_change_permission(request, pool):
            raise PermissionDenied
        if pool.kind != CouponPool.Kind.UNIQUE:
            return redirect("admin:delivery_couponpool_change", pk)
        form = CodesForm(request.POST or None, request.FILES or None)
        refused: list[tuple[int, str]] = []
        if request.method == "POST" and form.is_valid():
            done = self._stored(request, pool, form)
            if done is not None and not done.refused:
                return redirect("admin:delivery_couponpool_change", pk)
            refused = done.reasons[:SHOWN] if done is not None else []
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Add codes to “%s”") % pool.name,
            "pool": pool,
            "form": form,
            "refused": refused,
        }
        return TemplateResponse(request, "admin/delivery/coupon/codes.html", context)

    def _stored(self, request: HttpRequest, pool: CouponPool, form: CodesForm) -> coupons.Added | None:
        data = form.cleaned_data
        if data["how"] == MAKE:
            try:
                made = coupons.generate(pool, data["number"], data["prefix"].strip(), data["length"] or 10)
            except ValueError as error:
                form.add_error("prefix", str(error))
                return None
            done = coupons.Added(added=made)
        else:
            try:
                done = coupons.add(
                    pool,
                    data["pasted"].splitlines()
                    if data["how"] == PASTE
                    else coupon_files.codes(data["file"], data["file"].name, coupons.MOST),
                )
            except TableError as error:
                form.add_error("file", str(error))
                return None
        self.log_change(request, pool, [{"added": {"name": _("codes"), "object": str(done.added)}}])
        told = ngettext("%d code was added.", "%d codes were added.", done.added) % done.added
        if done.known:
            told += " " + ngettext("%d was there already.", "%d were there already.", done.known) % done.known
        messages.success(request, told)
        return done


@admin.register(CouponCode)
class CouponCodeAdmin(ReadOnly, BigTableAdmin):
    list_display = ["pool", "shown", "profile", "given_at", "redeemed_at"]
    list_display_links = None
    list_select_related = ["pool", "profile"]
    list_filter = ["pool"]
    search_fields = ["code"]
    search_help_text = gettext_lazy("A whole code")
    ordering = ["-pk"]

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        """The code as it stands: part of one would look through them all."""
        term = search_term.strip()
        return (queryset.filter(code=term) if term else queryset), False

    @display(description=gettext_lazy("code"))
    def shown(self, row: CouponCode) -> Any:
        """As the customer types it."""
        return format_html('<bdi dir="ltr">{}</bdi>', row.code or row.pool.code)
