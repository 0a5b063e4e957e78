"""Saved reports: who sees which, what is kept of them, and what has gone that they ask for."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from analytics.models import Goal, SavedReport
from analytics.models.saved import MANAGE
from analytics.reporting import query as queries
from analytics.reporting import registry
from analytics.saved import clock
from crm import alerts

NAME_LENGTH = 100
_ROWS: dict[str, type[Model]] = {**queries.ROWS, "goal": Goal}


class NotSaved(ValueError):
    """It can't be kept like this; the message is for the person."""


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A saved report for a list: `url` shows it, `edit_url` is empty for who may not change it.

    `problem` says what of it has gone; `send` says in words when it is mailed.
    """

    pk: int
    name: str
    params: dict[str, str]
    url: str
    edit_url: str
    mine: bool
    owner: str
    shared: bool
    send: str
    problem: str


def visible(user: Any) -> QuerySet[SavedReport]:
    """Those that this user may look at: their own and what others share, of reports that they may see."""
    found = SavedReport.objects.filter(report__in=[report.slug for report in registry.seen_by(user)])
    if user.has_perm(MANAGE):
        return found
    return found.filter(Q(owner=user) | Q(shared=SavedReport.Shared.EVERYONE))


def may_change(user: Any, saved: SavedReport) -> bool:
    """Whether this user may change, schedule and delete it."""
    return bool(user.has_perm(MANAGE) or (saved.owner_id is not None and saved.owner_id == user.pk))


def listing(user: Any, slug: str = "") -> list[Saved]:
    """What this user sees of the saved reports of one report, or of all; five queries at most, by name."""
    if not user.has_perm("analytics.view_savedreport"):
        return []
    found = visible(user).select_related("owner")
    rows = list(found.filter(report=slug) if slug else found)
    problems = gone(rows)
    changes = user.has_perm("analytics.change_savedreport")
    return [
        Saved(
            pk=row.pk,
            name=row.name,
            params=row.params,
            url=url(row.report, row.params),
            edit_url=reverse("admin:analytics_savedreport_change", args=[row.pk])
            if changes and may_change(user, row)
            else "",
            mine=row.owner_id == user.pk,
            owner=row.owner.get_username() if row.owner else "",
            shared=row.shared == SavedReport.Shared.EVERYONE,
            send="" if not row.every else _("paused") if row.paused else row.get_every_display(),
            problem=problems.get(row.pk, ""),
        )
        for row in rows
    ]


def url(slug: str, params: dict[str, str]) -> str:
    """Where the admin shows a report with these parameters."""
    page = reverse("admin:report", args=[slug])
    return f"{page}?{urlencode(params)}" if params else page


def gone(rows: Iterable[SavedReport]) -> dict[int, str]:
    """What of these asks for something that is not there any more, with a sentence; a query for each kind of row."""
    every = list(rows)
    problems: dict[int, str] = {}
    for row in every:
        if row.report not in registry.reports():
            problems[row.pk] = _("There is no such report any more.")
    for name, model in _ROWS.items():
        asked = {row.pk: row.params[name] for row in every if str(row.params.get(name, "")).isdecimal()}
        if not asked:
            continue
        there = set(model._default_manager.filter(pk__in=set(asked.values())).values_list("pk", flat=True))
        for pk, number in asked.items():
            if int(number) not in there:
                words = _("The %s that it is about was deleted.") % model._meta.verbose_name
                problems.setdefault(pk, words)
    return problems


@transaction.atomic
def keep(user: User, slug: str, params: dict[str, str], name: str, shared: bool = False) -> SavedReport:
    """Keep a report's parameters under a name; the user's own one of this name becomes this.

    Raises:
        NotSaved: there is no name.
        QueryError: the parameters can't be understood.
        KeyError: there is no such report.
    """
    report = registry.reports()[slug]
    canonical = queries.params(report, queries.parse(report, params))
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH or "\x00" in name:
        raise NotSaved(_("Give it a name of up to %d characters.") % NAME_LENGTH)
    share = SavedReport.Shared.EVERYONE if shared else SavedReport.Shared.PRIVATE
    saved, new = SavedReport.objects.select_for_update().get_or_create(
        owner=user, report=slug, name=name, defaults={"params": canonical, "shared": share}
    )
    if not new:
        saved.params, saved.shared = canonical, share
        saved.save(update_fields=["params", "shared"])
        mended(saved)
    return saved


def plan(saved: SavedReport, now: datetime | None = None) -> None:
    """Set when it is due next, after its schedule has changed; the caller saves it."""
    saved.next_at = None if saved.paused else clock.following(saved, now or timezone.now())


def mended(saved: SavedReport) -> None:
    """Forget that it could not be made: it asks for something else by now."""
    SavedReport.objects.filter(pk=saved.pk).update(told_broken=False, last_error="", last_digest="")
    alerts.resolve(alert_key(saved.pk))


def alert_key(pk: int) -> str:
    """What alerts about a saved report are kept under."""
    return f"analytics:saved:{pk}"
