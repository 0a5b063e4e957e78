"""Templates that WhatsApp has approved: read from the provider, kept, offered and filled in.

Their parts have Meta's shape: {"type": "BODY", "text": "Hello {{1}}"}, HEADER with a "format", FOOTER, BUTTONS.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from delivery.models import Account, WhatsAppTemplate
from delivery.providers.base import ProviderError

State = WhatsAppTemplate.State
SANDBOX = "sandbox"
PLACES = "PLACES"  # a part of ours: the names of places that are filled in like those of the body
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
# Words of Meta and of Twilio, in lower case; what is not here can't be used.
_STATES = {
    "approved": State.APPROVED,
    "pending": State.PENDING,
    "in_appeal": State.PENDING,
    "received": State.PENDING,
    "unsubmitted": State.PENDING,
    "paused": State.PAUSED,
    "rejected": State.REJECTED,
    "deleted": State.GONE,
    "pending_deletion": State.GONE,
}


class Found(msgspec.Struct, frozen=True):
    """A template as a provider tells it, with its word for the state."""

    external_id: str
    name: str
    language: str
    category: str = ""
    status: str = ""
    reason: str = ""
    components: list[dict[str, Any]] = []


_BODIES = {
    "en": "Hello {{first_name}}, your cart with {{product}} is still waiting for you.",
    "ar": "مرحبا {{first_name}}، سلتك وفيها {{product}} ما زالت بانتظارك.",
    "pl": "Cześć {{first_name}}, koszyk, a w nim {{product}}, wciąż na Ciebie czeka.",
}
_BUTTONS = {"en": "Go to the cart", "ar": "إلى السلة", "pl": "Do koszyka"}
SAMPLES = [
    Found(
        f"sample-{language}",
        "cart_reminder",
        language,
        "marketing",
        "approved",
        components=[
            {"type": "BODY", "text": body},
            {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": _BUTTONS[language]}]},
        ],
    )
    for language, body in _BODIES.items()
]


def refresh(account: Account, now: datetime | None = None) -> int:
    """Read an account's templates from its provider and keep them; return how many there are.

    One that the provider no longer tells of is kept as gone: messages may speak of it.

    Raises:
        ProviderError: the provider does not tell, or has none.
    """
    from delivery import accounts

    now = now or timezone.now()
    found: Iterable[Found]
    if account.provider == SANDBOX:
        found = SAMPLES
    else:
        read = getattr(accounts.provider(account), "templates", None)
        if read is None:
            raise ProviderError(_("This provider has no templates."))
        found = list(read(accounts.sender(account)))
    return store(account, [each for each in found if each.name and each.language], now)


@transaction.atomic
def store(account: Account, found: Sequence[Found], now: datetime) -> int:
    """Keep these as all the templates of an account."""
    rows = {
        (each.name, each.language): WhatsAppTemplate(
            account=account,
            external_id=each.external_id,
            name=each.name,
            language=each.language,
            category=each.category,
            state=_STATES.get(each.status.lower(), State.OTHER),
            reason="" if each.reason.upper() == "NONE" else each.reason,
            components=each.components,
            synced_at=now,
        )
        for each in found
    }
    fields = ["external_id", "category", "state", "reason", "components", "synced_at"]
    kept = WhatsAppTemplate.objects.bulk_create(
        rows.values(),
        update_conflicts=True,
        unique_fields=["account", "name", "language"],
        update_fields=fields,
    )
    WhatsAppTemplate.objects.filter(account=account).exclude(
        pk__in=WhatsAppTemplate.objects.filter(account=account, synced_at=now)
    ).update(state=State.GONE)
    return len(kept)


def ensure_samples() -> None:
    """Give each sandbox account that has no templates yet some to try."""
    for account in Account.objects.filter(channel="whatsapp", provider=SANDBOX, templates=None):
        refresh(account)


def offered() -> Iterator[tuple[str, str]]:
    """("name/language", words) of the templates that can be sent, for a form."""
    approved = WhatsAppTemplate.objects.filter(state=State.APPROVED)
    names = approved.values_list("name", "language").distinct().order_by("name", "language")
    for name, language in names:
        yield f"{name}/{language}", f"{name} ({language})"


def find(name: str, language: str) -> WhatsAppTemplate | None:
    """A template of whichever account, one that can be sent before others; None: nobody has told of it."""
    rows = WhatsAppTemplate.objects.filter(name=name, language=language).order_by("-synced_at")
    found = list(rows)
    return next((row for row in found if row.state == State.APPROVED), found[0] if found else None)


def external_ids(account_id: int) -> dict[tuple[str, str], str]:
    """{(name, language): number at the provider} of one account, in one query."""
    rows = WhatsAppTemplate.objects.filter(account_id=account_id)
    return {
        (name, language): number
        for name, language, number in rows.values_list("name", "language", "external_id")
    }


def part(components: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    """The component of this type; an empty one where there is none."""
    return next((each for each in components if str(each.get("type", "")).upper() == kind), {})


def variables(text: Any) -> list[str]:
    """The names or numbers that a text has places for, each once, in order."""
    return list(dict.fromkeys(_VARIABLE.findall(str(text or ""))))


def places(components: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names or numbers of all values that a template's parameters have to hold."""
    held = list(components)
    named = part(held, PLACES).get("names")
    body = variables(part(held, "BODY").get("text"))
    return list(dict.fromkeys([*body, *(str(name) for name in named or [])]))


def filled(text: Any, values: Mapping[str, str]) -> str:
    """A text with its places filled in; one without a value stays empty."""
    return _VARIABLE.sub(lambda place: values.get(place[1], ""), str(text or ""))


def buttons(components: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The buttons in order."""
    found = part(components, "BUTTONS").get("buttons")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def button_kind(button: Mapping[str, Any]) -> str:
    """How Meta calls a button in a message that fills it in; "" for one that takes nothing."""
    kind = str(button.get("type", "")).upper()
    if kind == "URL":
        return "url" if variables(button.get("url")) else ""
    return {"QUICK_REPLY": "quick_reply", "COPY_CODE": "copy_code"}.get(kind, "")
