"""The gallery of flows to begin with, and the page of one: its steps, its messages, what it asks."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns import recipes
from campaigns.admin.flows import pages, recipe_drawing
from campaigns.admin.flows.recipe_form import RecipeForm
from crm.rules import seen
from crm.rules.errors import RuleError

RIGHTS = {
    "delivery.add_message": gettext_lazy("messages"),
    "campaigns.add_segment": gettext_lazy("segments"),
    "crm.add_computedattribute": gettext_lazy("computed attributes"),
    "delivery.add_couponpool": gettext_lazy("coupon pools"),
}


def gallery(model_admin: Any):
    """All recipes as cards by what they are for, narrowed by words and purpose."""

    def view(request: HttpRequest) -> HttpResponse:
        if not model_admin.has_view_permission(request):
            raise PermissionDenied
        language, known = recipes.language_of(), recipes.have()
        term = request.GET.get("q", "").strip()[:100]
        purpose = request.GET.get("purpose", "")
        groups: dict[str, list[dict[str, Any]]] = {}
        for recipe in recipes.all():
            words = " ".join((recipe.name[language], recipe.promise[language], recipe.name["en"])).casefold()
            if term.casefold() not in words or purpose not in ("", recipe.purpose):
                continue
            card = {
                "recipe": recipe,
                "name": recipe.name[language],
                "promise": recipe.promise[language],
                "icons": recipe_drawing.icons(recipe),
                "needs": recipes.needs(recipe, known=known, deep=False),
                "messages": len(recipe.messages),
            }
            groups.setdefault(recipe.purpose, []).append(card)
        return _page(
            model_admin,
            request,
            "recipes",
            title=_("Flows to begin with"),
            groups=[(recipes.PURPOSES[name], cards) for name, cards in groups.items()],
            purposes=list(recipes.PURPOSES.items()),
            term=term,
            purpose=purpose,
        )

    return model_admin.admin_site.admin_view(view)


def recipe(model_admin: Any):
    """One recipe; on POST it becomes a flow, which opens in the builder."""

    def view(request: HttpRequest, slug: str) -> HttpResponse:
        if not model_admin.has_view_permission(request):
            raise PermissionDenied
        try:
            found = recipes.get(slug)
        except KeyError:
            raise Http404 from None
        if request.method == "POST" and not model_admin.has_add_permission(request):
            raise PermissionDenied
        form = RecipeForm(found, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            if lacking := _lacking(request, found, form):
                form.add_error(None, _("You may not add: %s.") % ", ".join(map(str, lacking)))
            elif (answer := _installed(model_admin, request, found, form)) is not None:
                return answer
        language = recipes.language_of()
        answers = form.answers()
        return _page(
            model_admin,
            request,
            "recipe",
            title=found.name[language],
            recipe=found,
            promise=found.promise[language],
            purpose=recipes.PURPOSES[found.purpose],
            needs=recipes.needs(found, answers),
            steps=recipe_drawing.steps(found, answers, language),
            messages_by_language=recipe_drawing.messages(found, answers),
            form=form,
            event_names=seen.event_names(),
            may_add=model_admin.has_add_permission(request),
        )

    return model_admin.admin_site.admin_view(view)


def _installed(
    model_admin: Any, request: HttpRequest, found: recipes.Recipe, form: RecipeForm
) -> HttpResponse | None:
    """The way into the builder, or None with the reason in the form."""
    given = form.answers()
    try:
        flow = recipes.install(
            found.slug,
            by=request.user.get_username(),
            options=given,
            language=form.cleaned_data["language"],
        )
    except RuleError as error:
        form.add_error(None, "; ".join(text for _path, text in error.problems) or str(error))
        return None
    model_admin.log_addition(
        request, flow, _("Made from the recipe “%s”.") % found.name[recipes.language_of()]
    )
    return redirect("admin:campaigns_flow_builder", flow.pk)


def _lacking(request: HttpRequest, found: recipes.Recipe, form: forms.Form) -> list[str]:
    """What the recipe would make but the person may not."""
    makes = {
        "delivery.add_message": True,
        "campaigns.add_segment": bool(found.segments),
        "crm.add_computedattribute": bool(found.computed),
        "delivery.add_couponpool": found.coupon and not form.cleaned_data.get("pool"),
    }
    return [RIGHTS[right] for right, made in makes.items() if made and not request.user.has_perm(right)]


def _page(model_admin: Any, request: HttpRequest, name: str, title: str, **values: Any) -> HttpResponse:
    request.current_app = model_admin.admin_site.name
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.model._meta,
        "title": capfirst(title),
        **values,
    }
    return TemplateResponse(request, f"{pages.TEMPLATES}/pages/{name}.html", context)
