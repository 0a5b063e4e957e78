"""Page titles that name a page as the menu does."""

from typing import Any

from django import template
from django.conf import settings
from django.db.models.options import Options
from django.template import RequestContext
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from unfold.templatetags.unfold import header_title

register = template.Library()


@register.simple_tag(takes_context=True)
def menu_title(context: RequestContext) -> str:
    """Return the path to this page: group and item of the menu, then what it shows. The theme names apps."""
    model = _model(context)
    if model is None:
        return header_title(context)
    try:
        link = reverse(f"admin:{model.app_label}_{model.model_name}_changelist")
    except NoReverseMatch:
        return header_title(context)
    group, item = _place(link)
    parts: list[dict[str, Any]] = [
        {"title": group or model.app_config.verbose_name},
        {"title": item or model.verbose_name_plural, "link": link},
    ]
    shown = context.get("original") or context.get("object")
    if shown and not isinstance(shown, str):
        change = reverse(f"admin:{model.app_label}_{model.model_name}_change", args=[shown.pk])
        parts.append({"title": shown, "link": change})
    return render_to_string("unfold/helpers/header_title.html", {"parts": parts}, request=context.request)


def _model(context: RequestContext) -> Options | None:
    """The model that the page is about, if it is about one."""
    if opts := context.get("opts"):
        return opts
    for name in ("original", "object"):
        if meta := getattr(context.get(name), "_meta", None):
            return meta
    model = getattr(context.get("model_admin"), "model", None)
    return getattr(model, "_meta", None)


def _place(link: str) -> tuple[Any, Any]:
    """Titles of the menu's group and item that lead to `link`, or nothing."""
    theme: dict[str, Any] = settings.UNFOLD
    for group in theme["SIDEBAR"]["navigation"]:
        for item in group["items"]:
            if str(item["link"]) == link:
                return group.get("title"), item["title"]
    return None, None
