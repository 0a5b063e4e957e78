"""What forms have in common that ask how near to a date something happens: `side`, `distance` and `distance_unit`."""

from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _

from campaigns.flows import dates
from crm.rules.errors import RuleError

UNIT = "hours"  # unless another was chosen


def attempt(form: forms.Form, field: str, check: Callable[[], object]) -> None:
    """Show at `field` what `check` complains about."""
    try:
        check()
    except RuleError as error:
        form.add_error(field, error.message)


def check(form: forms.Form, data: Mapping[str, Any]) -> None:
    """Complain about a distance that is missing or too long."""
    if data.get("side") in ("before", "after") and "distance" not in form.errors:
        offset = dates.Offset(**{data.get("distance_unit") or UNIT: data.get("distance") or 0})
        attempt(form, "distance", lambda: offset.check("distance"))
        if not data.get("distance"):
            form.add_error("distance", _("Fill this in."))


def stored(cleaned: Mapping[str, Any]) -> dict[str, Any]:
    """The `offset` that the form's cleaned data means; nothing for the date itself."""
    if cleaned.get("side") not in ("before", "after"):
        return {}
    sign = -1 if cleaned["side"] == "before" else 1
    return {"offset": {cleaned.get("distance_unit") or UNIT: sign * (cleaned.get("distance") or 0)}}


def initial(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the form shows of a stored `offset`, finished or not."""
    offset, found = config.get("offset"), {}
    for unit in dates.LONGEST:
        number = offset.get(unit) if isinstance(offset, Mapping) else None
        if isinstance(number, int) and number:
            found = {
                "side": "before" if number < 0 else "after",
                "distance": abs(number),
                "distance_unit": unit,
            }
    return found
