"""Ready segments with their sizes, and the quick start from what people bought."""

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from campaigns.admin.segments.pages import TEMPLATES
from campaigns.segments import gallery, grammar, rfm, roles, sentence
from campaigns.segments.limits import TooSlow
from crm.rules import seen
from crm.rules.errors import RuleError

NUMBERS = ("window", "recent", "lately", "some", "often", "spent")


class CutsForm(forms.Form):
    """The lines between the cells; nothing given means as proposed."""

    window = forms.IntegerField(label=gettext_lazy("Days looked back"), min_value=3, max_value=rfm.LONGEST)
    recent = forms.IntegerField(label=gettext_lazy("Recent: bought within days"), min_value=1)
    lately = forms.IntegerField(label=gettext_lazy("A while ago: within days"), min_value=2)
    some = forms.IntegerField(label=gettext_lazy("Several: orders from"), min_value=2)
    often = forms.IntegerField(label=gettext_lazy("Often: orders from"), min_value=3)
    spent = forms.FloatField(label=gettext_lazy("Big spender: from"), min_value=0, required=False)

    def clean(self):
        found = super().clean() or {}
        if not self.errors and not rfm.Cuts("?", "", **{**found, "spent": found.get("spent") or 0}).sound:
            raise forms.ValidationError(
                _("Put the days in order (recent, a while ago, all), and the orders, too (several, often).")
            )
        return found


class GalleryMixin:
    """For SegmentAdmin."""

    def get_urls(self):
        view = self.admin_site.admin_view
        return [
            path("gallery/", view(self.gallery_view), name="campaigns_segment_gallery"),
            path("gallery/sizes/", view(self.gallery_sizes_view), name="campaigns_segment_gallery_sizes"),
            path("rfm/", view(self.rfm_view), name="campaigns_segment_rfm"),
            *super().get_urls(),
        ]

    def gallery_view(self, request: HttpRequest) -> HttpResponse:
        """The cards; their sizes follow by themselves."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = roles.find(_chosen(request.GET))
        cards = gallery.cards(found)
        shown = [
            (
                group,
                [
                    (
                        card,
                        _sentence(card.rule),
                        self._use_url(card, found) if card.rule is not None else "",
                        [roles.QUESTIONS[role] for role in card.missing if role in roles.QUESTIONS],
                    )
                    for card in members
                ],
            )
            for group, members in gallery.groups(cards)
        ]
        return self.page_of(
            request,
            "gallery",
            None,
            title=_("Ready segments"),
            groups=shown,
            roles=_questions(found),
            unclear=any(card.missing for card in cards),
            amounts=roles.amounts(found.purchase) if found.purchase else [],
            found=found,
            sizes_url=f"{reverse('admin:campaigns_segment_gallery_sizes')}?{request.GET.urlencode()}",
            may_add=self.has_add_permission(request),
        )

    def gallery_sizes_view(self, request: HttpRequest) -> HttpResponse:
        """About how many people each card is; a fragment that puts each figure into its place."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        cards = gallery.cards(roles.find(_chosen(request.GET)))
        rules = {card.ready.slug: card.rule for card in cards if card.rule is not None}
        sizes = gallery.sizes(rules)
        return TemplateResponse(
            request,
            f"{TEMPLATES}/gallery_sizes.html",
            {"sizes": [(slug, sizes.get(slug)) for slug in rules]},
        )

    def _use_url(self, card: gallery.Card, found: roles.Roles) -> str:
        query = QueryDict(mutable=True)
        query["ready"] = card.ready.slug
        query.update({role: getattr(found, role) for role in card.ready.needs})
        return f"{reverse('admin:campaigns_segment_add')}?{query.urlencode()}"

    def rfm_view(self, request: HttpRequest) -> HttpResponse:
        """The grid of customers; on POST, the chosen cells become segments."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.POST if request.method == "POST" else request.GET
        found = roles.find(_chosen(asked))
        form, grid, cuts, slow = None, None, None, False
        try:
            if found.purchase:
                given = {name: asked[name] for name in NUMBERS if asked.get(name)}
                proposed = rfm.propose(found.purchase, found.amount, _window(asked))._asdict()
                form = CutsForm({name: given.get(name, proposed[name]) for name in NUMBERS})
                if form.is_valid():
                    values = {**form.cleaned_data, "spent": form.cleaned_data["spent"] or 0}
                    cuts = rfm.Cuts(found.purchase, found.amount, **values)
                    if request.method == "POST":
                        return self._create_cells(request, cuts, request.POST.getlist("cell"))
                    grid = rfm.grid(cuts)
        except TooSlow:
            slow = True
        return self.page_of(
            request,
            "rfm",
            None,
            title=_("Customers by recency, frequency and value"),
            form=form,
            grid=grid,
            cuts=cuts,
            slow=slow,
            found=found,
            names=seen.event_names(),
            amounts=roles.amounts(found.purchase) if found.purchase else [],
            may_add=self.has_add_permission(request),
        )

    def _create_cells(self, request: HttpRequest, cuts: rfm.Cuts, keys: list[str]) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        known = [key for key in keys if key in rfm.NAMES and (key != rfm.BIG or cuts.amount)]
        if not known:
            messages.warning(request, _("Choose at least one cell."))
            return redirect(f"{reverse('admin:campaigns_segment_rfm')}?{_again(request.POST)}")
        made = rfm.create(cuts, known, request.user.get_username())
        for segment in made:
            self.log_addition(request, segment, [{"added": {}}])
        text = ngettext(
            "%d segment was made; it is being counted.",
            "%d segments were made; they are being counted.",
            len(made),
        )
        messages.success(request, text % len(made))
        return redirect("admin:campaigns_segment_changelist")


def _chosen(asked: QueryDict) -> dict[str, str]:
    return {name: asked.get(name, "").replace("\x00", "") for name in roles.Roles._fields}


def _questions(found: roles.Roles) -> list[tuple[str, str, str, list[str]]]:
    """For each role: its code, its words, the event that it is now, and the events to choose from."""
    names = seen.event_names()
    return [(role, str(words), getattr(found, role), names) for role, words in roles.QUESTIONS.items()]


def _window(asked: QueryDict) -> int:
    days = asked.get("window", "")
    return int(days) if days.isdecimal() and len(days) < 5 and 3 <= int(days) <= rfm.LONGEST else rfm.WINDOW


def _sentence(rule: dict | None) -> str:
    try:
        return sentence.describe(grammar.parse(rule)) if rule is not None else ""
    except RuleError:
        return ""


def _again(posted: QueryDict) -> str:
    query = QueryDict(mutable=True)
    for name in (*roles.Roles._fields, *NUMBERS):
        if posted.get(name):
            query[name] = posted[name]
    return query.urlencode()
