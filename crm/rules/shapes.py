"""What is wrong with the shape of some JSON, as a sentence."""

import re

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.rules.errors import Problem, join

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_TYPES = {
    "str": gettext_lazy("a text"),
    "int": gettext_lazy("a whole number"),
    "float": gettext_lazy("a number"),
    "bool": gettext_lazy("true or false"),
    "array": gettext_lazy("a list"),
    "object": gettext_lazy("an object"),
    "null": gettext_lazy("nothing"),
}


def problem(error: msgspec.ValidationError, path: str) -> Problem:
    """msgspec's message as a sentence at the node it is about."""
    found = _AT.match(str(error))
    what, where = (found["what"], (found["path"] or "").lstrip(".")) if found else (str(error), "")
    if key := re.search(r"missing required field `(.*)`", what):
        return Problem(join(path, join(where, key[1])), _("This is missing."))
    if key := re.search(r"contains unknown field `(.*)`", what):
        return Problem(join(path, join(where, key[1][:100])), _("This does not belong here."))
    if types := re.match(r"Expected `(.*)`, got `(.*)`", what):
        wanted = [str(_TYPES[name]) for name in types[1].split(" | ") if name in _TYPES and name != "null"]
        if "float" in types[1]:
            wanted = [item for item in wanted if item != str(_TYPES["int"])]  # every whole number is one, too
        if wanted:
            return Problem(join(path, where), _("Give %s.") % _(" or ").join(wanted))
    if value := re.match(r"Invalid enum value (.*)", what):
        return Problem(join(path, where), _("%s is not possible here.") % value[1])
    return Problem(join(path, where), _("This is not possible here."))
