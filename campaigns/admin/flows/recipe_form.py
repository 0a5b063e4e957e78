"""The form of what a recipe asks."""

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from campaigns import recipes
from campaigns.flows import dates
from campaigns.flows.triggers.holiday import countries
from campaigns.recipes.shelf import LANGUAGES
from crm.rules import paths
from crm.rules.errors import RuleError
from delivery.models import CouponPool

NAMES = {"en": "English", "ar": "العربية", "pl": "Polski"}
# What would end a text inside a template's quotes, or begin a template.
PLAIN = RegexValidator(re.compile(r"^[^'\"{}$%\\]*$"), gettext_lazy("Leave out quotes, braces, $, % and \\."))


class RecipeForm(forms.Form):
    """One field for each option of a recipe, and the language."""

    def __init__(self, recipe: recipes.Recipe, data: Any = None):
        self.recipe, self.proposed = recipe, recipes.proposed(recipe)
        super().__init__(data, initial={**self.proposed, "language": recipes.language_of()})
        fields: dict[str, Any] = self.fields
        for name in recipe.options:
            fields[name] = _field(recipes.OPTIONS[name])
        fields["language"] = forms.ChoiceField(
            label=_("Language"),
            choices=[(code, NAMES[code]) for code in LANGUAGES],
            help_text=_("For names, and for people whose language is none of the three."),
            widget=UnfoldAdminSelectWidget,
        )

    def answers(self) -> dict[str, Any]:
        """What was answered so far, over what is proposed."""
        given = getattr(self, "cleaned_data", {}) if self.is_bound else {}
        return {
            **self.proposed,
            **{name: given[name] for name in self.recipe.options if given.get(name) not in (None, "")},
        }


def _field(option: recipes.Option) -> forms.Field:
    shared: dict[str, Any] = {"label": option.label, "help_text": option.help}
    if option.kind == "number":
        return forms.IntegerField(
            min_value=option.least, max_value=option.most, widget=UnfoldAdminIntegerFieldWidget, **shared
        )
    if option.kind in ("pool", "country"):
        pools = [("", _("A new one"))]
        if option.kind == "pool":
            pools += list(CouponPool.objects.order_by("name").values_list("slug", "name"))
        choices = pools if option.kind == "pool" else list(countries())
        return forms.ChoiceField(
            choices=choices, required=option.kind != "pool", widget=UnfoldAdminSelectWidget, **shared
        )
    attrs = {"autocomplete": "off", "dir": "auto"}
    if option.kind == "event":
        attrs["list"] = "recipe-events"
    if option.kind == "time":
        attrs["type"] = "time"
    check = {"property": _property, "field": _date_field, "time": _clock, "link": _link}.get(option.kind)
    return forms.CharField(
        max_length=200,
        validators=[PLAIN, *([check] if check else [])],
        widget=UnfoldAdminTextInputWidget(attrs=attrs),
        **shared,
    )


def _property(value: str) -> None:
    try:
        paths.json_path(value, "property")
    except RuleError as error:
        raise ValidationError(error.message) from error
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", value):
        raise ValidationError(_("Use letters, digits, underscores and dots."))


def _date_field(value: str) -> None:
    try:
        dates.check_field(value)
    except RuleError as error:
        raise ValidationError(error.message) from error


def _clock(value: str) -> None:
    try:
        dates.clock(value)
    except RuleError as error:
        raise ValidationError(error.message) from error


def _link(value: str) -> None:
    if not re.match(r"(https://|/)[^\s]*$", value):
        raise ValidationError(_("Give https://… or a path such as /cart."))
