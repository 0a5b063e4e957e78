"""How pages about flows and broadcasts write days, times and languages, so that each has one way to do it."""

from django import template

from campaigns.flows import waiting_words
from crm.rules import words

register = template.Library()
register.filter("moment", waiting_words.moment)


@register.filter
def language(locale: str) -> str:
    """A locale such as pt-BR by its language's name."""
    code = locale.replace("_", "-").split("-")[0]
    name = words.language_names().get(code, locale)
    return name if code == locale else f"{name} ({locale})"
