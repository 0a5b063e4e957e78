"""Contact data for those who may see it, and its outline for everybody else.

Contact data is what reaches or names a person outside of here: email, phone, customer number, CRM record ids, street
addresses, device endpoints and network addresses. Without the permission `crm.view_contact_data` one sees an outline
of it, and of a person's name the first name with an initial.

`shown` takes the user. What has no request at hand, such as a model's `__str__`, asks `hidden()`: the middleware
says so for the length of a request.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

PERMISSION = "crm.view_contact_data"
DOTS = "•••"

_hidden: ContextVar[bool] = ContextVar("contacts_hidden", default=False)
_EMAIL = re.compile(r"[^\s@<>\",;:()\[\]]+@[^\s@<>\"',;:()\[\]]+\.\w{2,}")
# Seven digits or more, in groups as people write them; a date or an amount is none.
_PHONE = re.compile(r"(?<![\w.,:/-])(?:\+|00)\d[\d ()./-]{5,}\d(?![\w])")
_DIGITS = re.compile(r"\+?[\d ()./-]{7,}")
_ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_TELLING = re.compile(
    r"mail|phone|mobile|^tel|address|street|postcode|postal|zip|endpoint|external.?id|customer.?(id|no|number)"
    r"|user.?id|anonymous.?id|last.?name|surname|full.?name|^name$|^ip$|ip.?addr|user.?name|token|latitude|longitude"
    r"|^lat$|^(lon|lng)$|birth",
    re.IGNORECASE,
)
# A part of what is called so, such as email.work, is one.
_REACHING = re.compile(r"mail|phone|mobile|^tel|endpoint", re.IGNORECASE)


def sees_contacts(user: Any) -> bool:
    """Whether this user (or None) may see emails, phones and the like of people."""
    return user is not None and bool(user.is_active) and user.has_perm(PERMISSION)


def email(text: str) -> str:
    """An email's outline, such as a•••@e•••.com."""
    name, _at, domain = text.rpartition("@")
    if not name or not domain:
        return other(text)
    return f"{name[0]}{DOTS}@{domain[0]}{DOTS}.{domain.rpartition('.')[2]}"


def phone(text: str) -> str:
    """A phone number's outline: the beginning of its country code and the last two digits, such as +48•••21."""
    return f"{text[:3]}{DOTS}{text[-2:]}" if len(text) >= 8 else DOTS


def other(text: str) -> str:
    """Nothing but that there is something."""
    return DOTS if text else ""


def name(first: str | None, last: str | None) -> str:
    """A person's name as those see it who see no contact data: Ada L."""
    initial = f"{last[0]}." if last else ""
    return " ".join(part for part in (first or "", initial) if part)


def text(words: str) -> str:
    """Running text with the emails, phone numbers and network addresses in it outlined."""
    words = _EMAIL.sub(lambda found: email(found[0]), words)
    words = _PHONE.sub(lambda found: phone(found[0]), words)
    return _ADDRESS.sub(DOTS, words)


def data(value: Any, key: str = "") -> Any:
    """JSON (event properties, attributes, raw records) with whatever looks like contact data outlined."""
    if isinstance(value, Mapping):
        changed = value.get(
            "field"
        )  # a change of a field tells what it was and is, see crm.attribute_changes
        called = {"from": _part(changed), "to": _part(changed)} if isinstance(changed, str) else {}
        return {text(name): data(part, called.get(name) or name) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [data(part, key) for part in value]
    if value is None or isinstance(value, bool):
        return value
    if key and _TELLING.search(key):
        return _outline(str(value))
    if isinstance(value, str):
        return phone(value) if _DIGITS.fullmatch(value) else text(value)
    return value


def _part(field: str) -> str:
    """The part of a dotted name that tells what its value is."""
    parts = field.split(".")
    return next((part for part in parts if _REACHING.search(part)), parts[-1])


def _outline(value: str) -> str:
    if "@" in value:
        return email(value)
    return phone(value) if _DIGITS.fullmatch(value) else other(value)


def names(pairs: list[list[str]]) -> list[list[str]]:
    """[kind, value] of identifiers with their values outlined."""
    return [[kind, masked(kind, value)] for kind, value in pairs]


def values(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of another system, whose fields may mean anything: their names alone."""
    return {name: DOTS if value not in (None, "") else value for name, value in record.items()}


def written(words: str) -> str:
    """JSON as text with what looks like contact data outlined; other text as `text` has it."""
    try:
        return json.dumps(data(json.loads(words)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text(words)


_KINDS: dict[str, Callable[[Any], Any]] = {
    "email": email,
    "phone": phone,
    "text": text,
    "identifier": _outline,
    "address": _outline,
    "initial": lambda last: name("", last),
    "data": data,
    "json": written,
    "names": names,
    "values": values,
}


def masked(kind: str, value: Any) -> Any:
    """The outline of a value of this kind (see `shown`); a kind that is not known becomes dots."""
    if value in (None, ""):
        return ""
    outline = _KINDS.get(kind, other)
    return outline(value if kind in ("data", "names", "values") else str(value))


def shown(user: Any, kind: str, value: Any) -> Any:
    """The value for those who may see contact data, its outline for others.

    Args:
        kind: email, phone, external_id, anonymous_id, address, endpoint, ip, "<connection>:<object>" (of an
            identifier), text (words that may hold some of it), data (JSON that may), json (the same as text), or
            values (a record whose fields nobody knows).
    """
    if value in (None, ""):
        return ""
    return value if sees_contacts(user) else masked(kind, value)


def hidden() -> bool:
    """Whether whoever the present request is for may see no contact data."""
    return _hidden.get()


def hide() -> None:
    """Let `hidden` say so until the end of the enclosing `hiding`."""
    _hidden.set(True)


@contextmanager
def hiding(yes: bool = True) -> Iterator[None]:
    """Let `hidden` say so for the length of a block."""
    token = _hidden.set(yes)
    try:
        yield
    finally:
        _hidden.reset(token)


def asks(rule: Any) -> bool:
    """Whether a rule (JSON) compares with contact data, so that its answer would tell some of it."""
    if isinstance(rule, list):
        return any(asks(part) for part in rule)
    if not isinstance(rule, Mapping):
        return False
    for name in ("field", "property"):
        *outer, column = str(rule.get(name) or "").split(".")
        if _TELLING.search(column) or any(map(_REACHING.search, outer)):
            return True
    if rule.get("name") == "attribute_changed" and _asks_for_values(rule.get("where")):
        return True
    # Near a place: how far away somebody is tells where they are.
    if "latitude" in rule or "longitude" in rule:
        return True
    compared = rule.get("value")
    if "@" in str(compared):  # a part of an email tells as much as all of it
        return True
    return data(compared) != compared or any(asks(part) for part in rule.values())


def _asks_for_values(where: Any) -> bool:
    """Whether conditions on changes of fields compare the values of one that may be contact data."""
    conditions = [each for each in where if isinstance(each, Mapping)] if isinstance(where, list) else []
    fields = [each for each in conditions if each.get("property") == "field" and each.get("op") == "eq"]
    told = not fields or any(_TELLING.search(_part(str(each.get("value")))) for each in fields)
    return told and any(each.get("property") in ("from", "to") for each in conditions)


def contact(kind: str, value: Any) -> Any:
    """The value as whoever the present request is for may see it; kinds as in `shown`."""
    if value in (None, ""):
        return ""
    return masked(kind, value) if hidden() else value
