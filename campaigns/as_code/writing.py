"""Storing the parts of a bundle, each through the services that the admin uses."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils.translation import gettext as _

from campaigns.as_code import canonical, stored
from campaigns.as_code.documents import DEFAULT, FIRST_VARIANT
from campaigns.flows import editing, jobs
from campaigns.flows.definition import DefinitionError
from campaigns.models import Flow, Segment
from campaigns.segments import editing as segment_editing
from campaigns.segments import lists
from campaigns.segments.usage import segments_in
from crm import audit, topics
from crm.models import Topic
from crm.normalise import Rejection
from crm.rules.errors import RuleError
from delivery import authoring
from delivery.models import CouponPool

C = TypeVar("C", bound=tuple[Any, dict[str, Any]])


class Refused(ValueError):
    """It can't be stored; `problems` are (path within the part, sentence)."""

    def __init__(self, problems: Sequence[tuple[str, str]]):
        self.problems = problems
        super().__init__(str(problems))


def in_order(changes: Iterable[C]) -> list[C]:
    """The changes so that segments come after those that their rules name, as far as that is possible."""
    waiting = list(changes)
    segments = {change.slug: new for change, new in waiting if change.section == "segments"}
    ranks: dict[str, int] = {}

    def rank(slug: str, above: tuple[str, ...] = ()) -> int:
        if slug not in ranks:
            named = set(segments_in(segments[slug].get("rule"))) & segments.keys() - {*above, slug}
            ranks[slug] = 1 + max((rank(each, (*above, slug)) for each in named), default=0)
        return ranks[slug]

    places = {name: place for place, name in enumerate(stored.MODELS)}
    return sorted(
        waiting,
        key=lambda each: (
            places[each[0].section],
            rank(each[0].slug) if each[0].section == "segments" else 0,
        ),
    )


def write(section: str, slug: str, part: dict[str, Any], by: Any) -> None:
    """Make it, or change it into what `part` tells; in the caller's transaction.

    Raises:
        Refused: it can't be that.
    """
    try:
        row, made = _WRITE[section](slug, part, by)
    except IntegrityError as error:
        raise Refused([("", _("Somebody else made this at the same moment."))]) from error
    audit.record(by, f"{stored.MODELS[section]._meta.model_name}.imported", row, made=made)


def name_of(by: Any) -> str:
    """Whose doing it is, as versions name them."""
    if isinstance(by, str):
        return by
    key = getattr(by, "auth", None)
    if key is not None:
        return f"key:{key.name}"
    user = jobs.person(by)
    return user.get_username() if user else ""


def _topic(slug: str, part: dict[str, Any], by: Any) -> tuple[Topic, bool]:
    row = Topic.objects.select_for_update().filter(slug=slug).first()
    usual = {"description": "", "translations": {}, "shown": True, "needs_yes": False, "double_opt_in": False}
    try:
        if row is None:
            return topics.create({"slug": slug, **part}), True
        return topics.change(row, {**usual, "legal_basis": "consent", **part}), False
    except Rejection as error:
        raise Refused([(error.field or "", error.detail)]) from error


def _coupons(slug: str, part: dict[str, Any], by: Any) -> tuple[CouponPool, bool]:
    row = CouponPool.objects.select_for_update().filter(slug=slug).first()
    made = row is None
    row = row or CouponPool(slug=slug, kind=part.get("kind", CouponPool.Kind.UNIQUE))
    if part.get("kind", CouponPool.Kind.UNIQUE) != row.kind:
        raise Refused([("kind", _("A pool keeps its kind."))])
    expires = part.get("expires_at")
    moment = canonical.moment(expires)
    if expires is not None and moment is None:
        raise Refused([("expires_at", _("Write a time with its zone, such as 2026-12-31T23:59:00Z."))])
    row.name, row.code, row.expires_at = part["name"], part.get("code", ""), moment
    usual = CouponPool()
    for field in ("low_mark", "event_name", "event_property"):
        setattr(row, field, part.get(field, getattr(usual, field)))
    code = row.code
    if row.kind == CouponPool.Kind.FIXED and (not code or any(each.isspace() for each in code)):
        raise Refused([("code", _("Say which code everybody gets; it has no spaces."))])
    if row.kind != CouponPool.Kind.FIXED and code:
        raise Refused([("code", _("Only a fixed coupon has its code here."))])
    _validated(row, "code", "name", "kind", "low_mark", "event_name", "event_property")
    row.save()
    return row, made


def _validated(row: Any, *fields: str) -> None:
    others = {field.name for field in row._meta.fields} - set(fields)
    try:
        row.clean_fields(exclude=others)
    except ValidationError as error:
        raise Refused([(field, texts[0]) for field, texts in error.message_dict.items()]) from error


def _segment(slug: str, part: dict[str, Any], by: Any) -> tuple[Segment, bool]:
    kind, rule = part.get("kind", Segment.Kind.RULE.value), part.get("rule")
    row = Segment.objects.select_for_update(no_key=True).filter(slug=slug).first()
    if kind not in Segment.Kind.values:
        raise Refused([("kind", _("The kind is one of: %s.") % ", ".join(Segment.Kind.values))])
    if row is not None and row.kind != kind:
        raise Refused([("kind", _("A segment stays a rule or a list."))])
    if (kind == Segment.Kind.LIST) != (rule is None):
        sentence = _("A list has no rule.") if rule is not None else _("This is missing.")
        raise Refused([("rule", sentence)])
    description = part.get("description", "")
    try:
        if row is None and rule is None:
            return lists.create(part["name"], slug, description, name_of(by)), True
        made = row is None
        row = row or Segment(slug=slug, kind=kind)
        row.name, row.description = part["name"], description
        return segment_editing.save(row, rule, name_of(by)), made
    except lists.ListError as error:
        raise Refused([(error.field or "", str(error))]) from error
    except RuleError as error:
        raise Refused(
            [
                (path if path == "slug" else _below("rule", path), sentence)
                for path, sentence in error.problems
            ]
        ) from error


def _below(name: str, path: str) -> str:
    return f"{name}.{path}" if path and not path.startswith("[") else name + path


WORDS = ("contents", "variants", "parts", "variant_names")  # of a message; the rest are its fields


def _message(slug: str, part: dict[str, Any], by: Any) -> tuple[Any, bool]:
    fields = {name: value for name, value in part.items() if name not in WORDS}
    words = [
        authoring.Words(channel, variant, "" if locale == DEFAULT else locale, content)
        for variant, channels in (
            (FIRST_VARIANT, part.get("contents", {})),
            *part.get("variants", {}).items(),
        )
        for channel, locales in channels.items()
        for locale, content in locales.items()
    ]
    names = part.get("variant_names", {})
    variants = [
        authoring.Variant(key, names.get(key, ""), weight) for key, weight in part.get("parts", {}).items()
    ]
    try:
        return authoring.save(slug, fields, words, variants or None, jobs.person(by))
    except authoring.Refused as error:
        raise Refused(
            [
                (_at(words[place], field) if place is not None else field, sentence)
                for place, field, sentence in error.problems
            ]
        ) from error


def _at(words: Any, field: str) -> str:
    first = "contents" if words.variant == FIRST_VARIANT else f"variants.{words.variant}"
    return f"{first}.{words.channel}.{words.locale or DEFAULT}" + (f".{field}" if field else "")


def _flow(slug: str, part: dict[str, Any], by: Any) -> tuple[Flow, bool]:
    draft = {name: value for name, value in part.items() if name not in ("name", "description")}
    stored.with_numbers(draft)
    name, description, user = part["name"], part.get("description", ""), jobs.person(by)
    row = Flow.objects.select_for_update(no_key=True).filter(slug=slug).first()
    if row is None:
        return Flow.objects.create(slug=slug, name=name, description=description, draft=draft), True
    try:
        row = editing.save(row.pk, row.revision, lambda _before: draft, user)
    except DefinitionError as error:
        raise Refused(list(error.problems)) from error
    if (row.name, row.description) != (name, description):
        row.name, row.description = name, description
        row.save(update_fields=["name", "description", "updated_at"])
    return row, False


_WRITE: dict[str, Any] = {
    "topics": _topic,
    "coupons": _coupons,
    "segments": _segment,
    "messages": _message,
    "flows": _flow,
}
