"""What the preference page's template asks about a choice."""

from django import template
from django.http import QueryDict

from delivery.preferences.choices import Choice

register = template.Library()


@register.filter
def ticked(choice: Choice, posted: QueryDict | None) -> bool:
    """Whether its box is ticked: as posted, where the form comes back with an error."""
    return choice.on if posted is None else choice.field in posted.getlist("on")


@register.filter
def frequency(choice: Choice, posted: QueryDict | None) -> str:
    """How often it is chosen: as posted, where the form comes back with an error."""
    return choice.frequency if posted is None else posted.get(f"frequency:{choice.key}", choice.frequency)
