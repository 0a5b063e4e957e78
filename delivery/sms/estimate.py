"""What an authored text message will be: its words, parts and cost."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from django.utils import translation
from django.utils.translation import gettext

from delivery.sms.parts import Encoding, measure
from delivery.sms.spelling import simplify

STAND_IN = "x" * 12  # for a variable, whose value differs from person to person
_OUTPUT = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_TAG = re.compile(r"\{%.*?%\}", re.DOTALL)


class Estimate(msgspec.Struct, frozen=True):
    """Parts of a message to one person. `cost` is None where the account's is not known; `guessed`: it has variables.

    `left` characters fit into the last part; `strangers` are the characters that make it dearer (UCS-2).
    """

    text: str
    encoding: Encoding
    units: int
    parts: int
    left: int
    strangers: list[str]
    cost: Decimal | None
    currency: str
    guessed: bool


def shown(content: Mapping[str, Any], locale: str = "") -> str:
    """The text that goes out for filled-in content: with the hint on how to leave, and in cheap characters if so set.

    Args:
        locale: the language of the hint.
    """
    text = "".join(each for each in str(content.get("text", "")) if each.isprintable() or each in "\n\t\f")
    text = text.strip()
    if content.get("opt_out"):
        text = f"{text}\n{_hint(locale)}" if text else _hint(locale)
    return simplify(text, content.get("simplify", "signs"))


def estimate(
    content: Mapping[str, Any], locale: str = "", cost_per_part: Decimal | None = None, currency: str = ""
) -> Estimate:
    """Measure authored or filled-in content of the channel sms; of a variable the length is guessed.

    Args:
        cost_per_part: of the account that will send it.
    """
    text = str(content.get("text", ""))
    plain = _TAG.sub("", _OUTPUT.sub(STAND_IN, text))
    words = shown({**content, "text": plain}, locale)
    size = measure(words)
    return Estimate(
        words,
        size.encoding,
        size.units,
        size.parts,
        size.left,
        size.strangers,
        None if cost_per_part is None else cost_per_part * size.parts,
        currency,
        plain != text,
    )


def _hint(locale: str) -> str:
    with translation.override(locale or None):
        return gettext("Reply STOP to unsubscribe.")
