"""Defining, changing and removing computed attributes."""

import re
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from crm import alerts
from crm.computed import backfill, keeping, usage
from crm.computed.kinds import Kind, parse
from crm.models import ComputedAttribute
from crm.rules.errors import RuleError
from crm.rules.operators import check_json_scalar

MOST = 200
LONGEST_NAME = 200
_SLUG = re.compile(r"[a-z][a-z0-9_]{0,49}")
State = ComputedAttribute.State


class InUse(Exception):
    """Something needs the attribute as it is. `uses` lists what."""

    def __init__(self, name: str, uses: list[usage.Use]):
        super().__init__(
            _("“%(name)s” is used by %(uses)s.") % {"name": name, "uses": ", ".join(use.text for use in uses)}
        )
        self.uses = uses


class SlugTaken(Exception):
    """Another attribute has this short name."""

    def __str__(self) -> str:
        return _("Another attribute has this short name.")


def check_name(name: str) -> str:
    """The name without spaces around it. Raises RuleError at `name`."""
    name = name.strip()
    if not name or len(name) > LONGEST_NAME:
        raise RuleError(_("Give a name of at most %d characters.") % LONGEST_NAME, "name")
    return check_json_scalar(name, "name")


def check_slug(slug: str) -> str:
    """A short name that rules and templates can hold. Raises RuleError at `slug`."""
    if not _SLUG.fullmatch(slug):
        message = _("Use small letters, digits and underscores, at most 50, with a letter first.")
        raise RuleError(message, "slug")
    return slug


@transaction.atomic
def create(name: str, slug: str, config: Any, start: bool = True) -> ComputedAttribute:
    """Define an attribute and, unless it is a draft, begin to compute it for everybody.

    Raises:
        RuleError: at `name`, `slug` or `definition…`.
        SlugTaken: the short name is another's.
    """
    kind = _parsed(config)
    if ComputedAttribute.objects.count() >= MOST:
        raise RuleError(_("There are %d attributes already; delete one first.") % MOST)
    attribute = ComputedAttribute(name=check_name(name), slug=check_slug(slug), kind=kind.kind, config=config)
    try:
        with transaction.atomic():
            attribute.save()
    except IntegrityError as error:
        raise SlugTaken from error
    attribute.refresh_from_db(fields=["created_at"])
    if start:
        backfill.start(attribute)
    return attribute


@transaction.atomic
def change(
    attribute: ComputedAttribute, name: str | None = None, config: Any = None, start: bool = True
) -> ComputedAttribute:
    """Give an attribute another name or definition; another definition is computed for everybody anew.

    Raises:
        RuleError: at `name` or `definition…`.
        InUse: it means something else now, and something relies on what it meant.
    """
    current = ComputedAttribute.objects.select_for_update().get(pk=attribute.pk)
    if name is not None:
        current.name = check_name(name)
    if config is not None and config != current.config:
        kind = _parsed(config)
        _refuse_if_used(current)
        current.config, current.kind, current.served = config, kind.kind, False
        current.state, current.computed_at, current.error = State.DRAFT, None, ""
    current.save()
    if start and current.state in (State.DRAFT, State.FAILED):
        backfill.start(current)
    return current


@transaction.atomic
def delete(attribute: ComputedAttribute) -> None:
    """Remove an attribute; its values are swept up later, since there may be millions. Raises InUse."""
    _refuse_if_used(attribute)
    alerts.resolve(keeping.alert_key(attribute.pk))
    attribute.delete()


def _parsed(config: Any) -> Kind:
    try:
        return parse(config)
    except RuleError as error:
        raise error.under("definition") from error


def _refuse_if_used(attribute: ComputedAttribute) -> None:
    if found := usage.uses().get(attribute.slug):
        raise InUse(attribute.name, found)
