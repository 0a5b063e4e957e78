"""Trying a draft on the past: ask for it, watch it, and see what it would have done."""

from datetime import timedelta
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import formats, timezone
from django.utils.translation import get_language_bidi
from django.utils.translation import gettext as _

from campaigns.admin.flows import pages, tried_words
from campaigns.flows import backtest, exits, steps, triggers
from campaigns.flows.definition import Definition, DefinitionError, Step, check, parse
from campaigns.flows.simulated_counts import Day, Example, Result
from campaigns.models import Backtest, Flow
from campaigns.segments import telling
from crm.models import Profile
from delivery import channels

TEMPLATE = f"{pages.TEMPLATES}/backtest"
SPANS = (1, 7, 14, 30, 60, 90)
LATEST = 8
SILENT_AFTER = 60  # seconds without work


def page(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """The latest dry run of the draft and its figures; on POST, ask for a new one."""
    problem = tried_words.hidden() if telling.tells(flow.draft) else ""
    if request.method == "POST" and not problem:
        try:
            days = int(request.POST.get("days", ""))
            most = None if pages.Rights(request).change else backtest.READERS_A_DAY
            job = backtest.start(flow, days, request.user.get_username(), most_a_day=most)
        except DefinitionError:
            problem = _("The draft has problems; the builder shows them. Mend them first.")
        except backtest.BusyError as error:
            problem = str(error)
        except ValueError:
            problem = _("Choose from 1 to %d days.") % backtest.MOST_DAYS
        else:
            return HttpResponseRedirect(f"{pages.url('backtest', flow)}?run={job.pk}")
    jobs = list(
        Backtest.objects.filter(flow=flow).defer("result", "definition").order_by("-created_at", "-pk")
    )
    job = _chosen(request, flow, jobs)
    values = {
        **model_admin.admin_site.each_context(request),
        **pages.context(request, flow),
        "tabs": pages.tabs(flow, "campaigns_flow_backtest"),
        "opts": model_admin.model._meta,
        "original": flow,
        "title": _("%s on the past") % flow.name,
        "jobs": jobs[:LATEST],
        "job": job,
        "spans": SPANS,
        "days": job.days if job else 30,
        "problem": problem,
        "mended": not _broken(flow),
        **(_status(request, job) if job else {}),
        **(_figures(request, job) if job and not telling.tells(job.definition) else {}),
    }
    return TemplateResponse(request, f"{TEMPLATE}/page.html", values)


def status(request: HttpRequest, flow: Flow, model_admin, number: int) -> HttpResponse:
    """How far it is; when it has ended the whole page is shown anew."""
    job = get_object_or_404(Backtest.objects.defer("result"), pk=number, flow=flow)
    response = pages.fragment(
        request, "backtest/status", {**pages.context(request, flow), "job": job, **_status(request, job)}
    )
    if job.state != Backtest.State.RUNNING:
        response["HX-Refresh"] = "true"
    return response


def cancel(request: HttpRequest, flow: Flow, model_admin, number: int) -> HttpResponse:
    """End it: one's own, or anybody's for those who may change flows."""
    if request.method != "POST":
        raise Http404
    job = get_object_or_404(Backtest, pk=number, flow=flow)
    if job.started_by != request.user.get_username():
        pages.require(request, "change")
    backtest.cancel(job)
    return HttpResponseRedirect(f"{pages.url('backtest', flow)}?run={number}")


def _chosen(request: HttpRequest, flow: Flow, jobs: list[Backtest]) -> Backtest | None:
    asked = request.GET.get("run", "")
    number = int(asked) if asked.isdecimal() and len(asked) < 19 else 0
    known = {job.pk for job in jobs}
    pk = number if number in known else jobs[0].pk if jobs else None
    return Backtest.objects.get(pk=pk) if pk else None


def _broken(flow: Flow) -> bool:
    try:
        return bool(check(parse(flow.draft)))
    except DefinitionError:
        return True


def _status(request: HttpRequest, job: Backtest) -> dict[str, Any]:
    running = job.state == Backtest.State.RUNNING
    silent = (timezone.now() - (job.worked_at or job.created_at)).total_seconds() > SILENT_AFTER
    own = job.started_by == request.user.get_username()
    return {
        "running": running,
        "percent": round(job.progress * 100),
        "silent": running and silent,
        "may_cancel": running and (own or pages.Rights(request).change),
    }


def _figures(request: HttpRequest, job: Backtest) -> dict[str, Any]:
    """What its template shows of a result. Figures of a share of people are scaled to all, and said to be about."""
    result = backtest.read(job)
    if result is None:
        return {}
    definition = parse(job.definition)
    scale = 1 / result.share if result.share else 1.0

    def number(value: int) -> str:
        return intcomma(round(value * scale))

    def part(value: int, whole: int) -> str:
        return f"{formats.number_format(round(value / whole * 100, 1), 1)} %" if whole else ""

    finished = result.completed + result.exited + result.inside
    figures = [
        (_("Would have entered"), number(result.entered), _entered_note(result, number)),
        (_("Came to the end"), number(result.completed), part(result.completed, finished)),
        (_("Left early"), number(result.exited), part(result.exited, finished)),
        (_("Still inside"), number(result.inside), part(result.inside, finished)),
        (_("Messages sent"), number(sum(each.sent for each in result.channels.values())), ""),
    ]
    if definition.goal is not None:
        worth = f" · {formats.number_format(result.value * scale, 2)}" if definition.goal.value else ""
        figures.append(
            (
                _("Reached the goal"),
                number(result.converted),
                f"{part(result.converted, result.entered)}{worth}",
            )
        )
    return {
        "result": result,
        "share": part(round(result.share * 1000), 1000) if result.share < 1 else "",
        "figures": figures,
        "goal": definition.goal,
        "trigger": triggers.summary(definition),
        "rows": list(_rows(definition.steps, result, number)),
        "refused": [
            (tried_words.refused(reason), number(count)) for reason, count in result.refused.items() if count
        ],
        "left": [(tried_words.ended(reason), number(count)) for reason, count in result.reasons.items()],
        "channels": [_channel(kind, each, number) for kind, each in result.channels.items()],
        "chart": _chart(result, scale, definition),
        "examples": _examples(request, definition, result.examples),
    }


def _entered_note(result: Result, number) -> str:
    people = _("%s people") % number(result.people)
    return f"{people} · {_('%s held out') % number(result.held_out)}" if result.held_out else people


def _rows(sequence: list[Step], result: Result, number, depth: int = 0):
    """Each step in reading order with its figures, and the heads of branches."""
    for step in sequence:
        kind = steps.registry.get(step.kind)
        found = result.steps.get(step.key)
        notes = []
        if found is not None:
            notes = [
                (_("left here"), number(found.left)) if found.left else None,
                (_("skipped"), number(found.skipped)) if found.skipped else None,
                (_("still here"), number(found.here)) if found.here else None,
            ]
        yield {
            "depth": depth,
            "key": step.key,
            "label": kind.label if kind else step.kind,
            "icon": kind.icon if kind else "help",
            "summary": kind.summary(step) if kind else "",
            "reached": number(found.reached) if found else "0",
            "width": round(found.reached / result.entered * 100) if found and result.entered else 0,
            "notes": [note for note in notes if note],
            "failed": found.failed if found else "",
        }
        for branch in step.branches:
            taken = found.branches.get(branch.name, 0) if found else 0
            yield {"depth": depth + 1, "branch": branch.name or _("No name"), "reached": number(taken)}
            yield from _rows(branch.steps, result, number, depth + 1)


def _channel(kind: str, each: Any, number) -> dict[str, Any]:
    known = channels.everything().get(kind)
    return {
        "label": known.label if known else kind,
        "queued": number(each.queued),
        "sent": number(each.sent),
        "waiting": number(each.waiting) if each.waiting else "",
        "stopped": [(tried_words.stopped(reason), number(count)) for reason, count in each.stopped.items()],
        "deferred": [(tried_words.stopped(reason), number(count)) for reason, count in each.deferred.items()],
    }


def _chart(result: Result, scale: float, definition: Definition) -> dict[str, Any]:
    first, last = (timezone.localtime(at).date() for at in (result.since, result.until))
    dates = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    days = [result.days.get(day.isoformat(), Day()) for day in dates] if result.starts else []
    series = [
        ("sent", _("Entered"), [day.entered for day in days]),
        ("clicked", _("Messages sent"), [day.sent for day in days]),
    ]
    if definition.goal is not None:
        series.append(("converted", _("Reached the goal"), [day.converted for day in days]))
    scaled = [(key, label, [round(value * scale) for value in values]) for key, label, values in series]
    return {
        "lines": {
            "labels": [formats.date_format(day, "MONTH_DAY_FORMAT") for day in dates],
            "rtl": get_language_bidi(),
            "series": [{"key": key, "label": label, "values": values} for key, label, values in scaled],
        },
        "heads": [label for _key, label, _values in scaled],
        "rows": [
            (
                formats.date_format(day, "SHORT_DATE_FORMAT"),
                [intcomma(values[index]) for _k, _l, values in scaled],
            )
            for index, day in reversed(list(enumerate(dates[: len(days)])))
        ],
    }


def _examples(request: HttpRequest, definition: Definition, examples: list[Example]) -> list[dict[str, Any]]:
    """Those of whom there still is a profile, for readers who may see people."""
    if not request.user.has_perm("crm.view_profile"):
        return []
    people = Profile.objects.in_bulk({example.profile_id for example in examples})
    known = tried_words.steps_of(definition)
    return [
        {
            "person": people[example.profile_id],
            "url": pages.optional_url("crm_profile_change", example.profile_id),
            "example": example,
            "ending": tried_words.ending(example.state, example.reason),
            "reached": example.converted_at is not None and example.reason != exits.GOAL,
            "path": [(note.at, *tried_words.noted(note, known)) for note in example.path],
        }
        for example in examples
        if example.profile_id in people
    ]
