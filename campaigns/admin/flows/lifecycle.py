"""Publishing, pausing, resuming, letting people finish and stopping: each asks in a dialog that says what it does to
how many people, and does it once however often it is pressed."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.admin.flows import pages, tree
from campaigns.flows import approval, catching_up, forecast, moving, roster, troubles
from campaigns.flows import publish as life
from campaigns.flows.approval import ApprovalError
from campaigns.flows.definition import DefinitionError, parse
from campaigns.models import Enrollment, Flow, FlowVersion
from crm import audit
from crm.rules.errors import Problem

LEAVE = "-"  # in the form: people leave from this step
DAYS = (7, 30, 90, 365)  # offered for catching up


def publish(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Show what keeps the draft from going live, or what going live changes; on POST, do it."""
    if request.method != "POST":
        return _publish_dialog(request, flow)
    pages.require(request, "publish")
    try:
        version = life.publish(
            flow.pk,
            request.user,
            people="move" if request.POST.get("people") == "move" else "finish",
            catch_up=_days(request.POST) if request.POST.get("who") == "also" else None,
            step_map=_step_map(request),
            revision=pages.revision(request),
        )
    except DefinitionError as error:
        return _publish_dialog(request, flow, error.problems)
    except (life.StateError, ApprovalError) as error:
        return pages.refuse(str(error))
    except ValueError as error:
        return pages.refuse(str(error))
    model_admin.log_change(request, flow, _("Published version %d.") % version.number)
    return pages.drawn(request, flow, _published_words(flow, version), "flow-publish")


def _published_words(flow: Flow, version: FlowVersion) -> str:
    words = _("Version %d is live") % version.number
    left = (
        moving.older(flow, version).count() if flow.jobs.filter(state="running", kind="move").exists() else 0
    )
    if left:
        words += (
            ". "
            + ngettext("%d person is still being moved.", "%d people are still being moved.", left) % left
        )
    return words


def _step_map(request: HttpRequest) -> dict[str, str | None]:
    return {
        name.removeprefix("to-"): None if value == LEAVE else value
        for name, value in request.POST.items()
        if name.startswith("to-") and value
    }


def _days(values: QueryDict) -> int:
    text = values.get("days", "")
    return min(max(int(text), 1), catching_up.MOST_DAYS) if text.isdecimal() and len(text) < 6 else DAYS[1]


def catching(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """How many people would be caught up with, by the GET parameter `days`; a few words for the dialog."""
    try:
        number = catching_up.number(parse(flow.draft), _days(request.GET))
    except (DefinitionError, LookupError, ValueError):
        return HttpResponse("–")
    if number is None:
        return HttpResponse(_("more than can be counted quickly"))
    return HttpResponse(ngettext("%d person", "%d people", number) % number)


def _publish_dialog(request: HttpRequest, flow: Flow, problems: list[Problem] | None = None) -> HttpResponse:
    """Args: problems: what publishing met, which is more than the draft shows by itself."""
    drawn = tree.build(flow)
    drawn.problems = problems or drawn.problems
    preview = None if drawn.problems else forecast.publishing(flow)
    asked = approval.of(flow)
    values = pages.context(
        request,
        flow,
        tree=drawn,
        problems=drawn.by_step,
        preview=preview,
        lists=_lists(preview) if preview else [],
        unreachable=drawn.unreachable,
        leave=LEAVE,
        spans=DAYS if preview and _looks_back(flow) else (),
        approval=asked,
        needs_approval=approval.required(),
        approved=approval.given(flow),
        may_answer=asked is not None and approval.may_answer(asked, request.user),
        may_decline=asked is not None and approval.may_decline(asked, request.user),
        may_take_over=asked is not None and approval.may_take_over(asked, request.user),
        may_ask=pages.Rights(request).change or pages.Rights(request).publish,
    )
    return pages.fragment(request, "publish", values)


def _looks_back(flow: Flow) -> bool:
    try:
        return catching_up.possible(parse(flow.draft))
    except (DefinitionError, LookupError, ValueError):
        return False


def _lists(preview: forecast.Publishing) -> list[tuple[str, list[str]]]:
    """What is added and so on, each list with its heading; those that are not empty."""
    found = preview.changes
    lists = [(_("New"), found.added), (_("Taken out"), found.removed), (_("Moved"), found.moved)]
    return [(heading, lines) for heading, lines in lists if lines]


def ask_approval(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Ask another person to look at the draft."""
    if request.method != "POST":
        return HttpResponse(status=405)
    rights = pages.Rights(request)
    if not rights.publish:
        pages.require(request, "change")
    approval.ask(flow.pk, pages.revision(request), request.user, request.POST.get("note", "").strip()[:1000])
    return pages.drawn(request, flow, _("Approval asked for"), "flow-publish")


def answer_approval(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Approve the draft that somebody else asked about, or decline."""
    if request.method != "POST":
        return HttpResponse(status=405)
    approve = request.POST.get("answer") == "approve"
    note = request.POST.get("note", "").strip()[:1000]
    try:
        approval.answer(flow.pk, pages.revision(request), request.user, approve, note)
    except ApprovalError as error:
        return pages.refuse(str(error))
    return pages.drawn(request, flow, _("Approved") if approve else _("Declined"), "flow-publish")


def pause(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Hold everybody where they are."""

    def lines() -> list[str]:
        found = forecast.pausing(flow)
        told = [
            ngettext("%d person holds their place.", "%d people hold their place.", found.inside)
            % found.inside,
            _("Nobody enters, nobody moves on. What happens meanwhile starts nobody, even after the pause."),
        ]
        if found.waiting:
            told.append(
                ngettext(
                    "%d message waits to go out and is held back.",
                    "%d messages wait to go out and are held back.",
                    found.waiting,
                )
                % found.waiting
            )
            told.append(
                _(
                    "Too late to be sent would be: after an hour %(hour)d, after a day %(day)d, after a week %(week)d."
                )
                % {
                    "hour": found.lost_after_hour,
                    "day": found.lost_after_day,
                    "week": found.lost_after_week,
                }
            )
        return told

    return _change(
        request,
        flow,
        model_admin,
        name="pause",
        title=_("Pause the flow?"),
        lines=lines,
        button=_("Pause"),
        act=lambda: life.pause(flow.pk, request.user),
        done=_("The flow is paused"),
    )


def resume(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Go on after a pause."""

    def lines() -> list[str]:
        found = forecast.resuming(flow)
        told = [
            ngettext("%d person goes on.", "%d people go on.", found.inside) % found.inside,
            _("People enter by what happens from now on; what happened during the pause starts nobody."),
        ]
        if found.due:
            told.append(
                ngettext(
                    "%d of them moves at once, because a wait ended during the pause.",
                    "%d of them move at once, because their waits ended during the pause.",
                    found.due,
                )
                % found.due
            )
        if found.waiting - found.late:
            number = found.waiting - found.late
            told.append(
                ngettext("%d message that waits goes out.", "%d messages that wait go out.", number) % number
            )
        if found.late:
            told.append(
                ngettext(
                    "%d message is too late by now and is dropped.",
                    "%d messages are too late by now and are dropped.",
                    found.late,
                )
                % found.late
            )
        return told

    return _change(
        request,
        flow,
        model_admin,
        name="resume",
        title=_("Resume the flow?"),
        lines=lines,
        button=_("Resume"),
        act=lambda: life.resume(flow.pk, user=request.user),
        done=_("The flow goes on"),
    )


def finish(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Let nobody in; who is inside goes on."""

    def lines() -> list[str]:
        inside = forecast.ending(flow).inside
        return [
            ngettext("%d person inside goes on to the end.", "%d people inside go on to the end.", inside)
            % inside,
            _("Nobody enters any more. When the last person is out, the flow is stopped."),
        ]

    return _change(
        request,
        flow,
        model_admin,
        name="finish",
        title=_("Let people finish?"),
        lines=lines,
        button=_("Let people finish"),
        act=lambda: life.finish(flow.pk, user=request.user),
        done=_("Nobody enters any more"),
    )


def stop(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """End all runs."""

    def lines() -> list[str]:
        found = forecast.ending(flow)
        told = [
            ngettext("%d person leaves the flow now.", "%d people leave the flow now.", found.inside)
            % found.inside
        ]
        if found.waiting:
            told.append(
                ngettext(
                    "%d message that waits to go out is not sent.",
                    "%d messages that wait to go out are not sent.",
                    found.waiting,
                )
                % found.waiting
            )
        if found.inside and flow.state != Flow.State.FINISHING:
            told.append(_("“Let people finish” keeps them inside to the end, and lets nobody new in."))
        return [*told, _("This can't be undone. Publishing again starts new runs only.")]

    return _change(
        request,
        flow,
        model_admin,
        name="stop",
        title=_("Stop the flow?"),
        lines=lines,
        button=_("Stop for everybody"),
        act=lambda: life.stop(flow.pk, user=request.user),
        done=_("The flow is stopped"),
        danger=True,
    )


def _change(
    request: HttpRequest,
    flow: Flow,
    model_admin: Any,
    name: str,
    title: str,
    lines: Callable[[], list[str]],
    button: str,
    act: Callable[[], object],
    done: str,
    danger: bool = False,
) -> HttpResponse:
    if request.method != "POST":
        values = pages.context(
            request,
            flow,
            title=title,
            lines=lines(),
            button=button,
            danger=danger,
            action=pages.url(name, flow),
            name=name,
        )
        return pages.fragment(request, "lifecycle", values)
    try:
        act()
    except life.StateError as error:
        return pages.refuse(pages.state_words(error))
    model_admin.log_change(request, flow, f"{done}.")
    return pages.drawn(request, flow, done, "flow-publish")


def trouble(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Which step fails and why; on POST, whoever it holds tries again at once."""
    if request.method == "POST":
        pages.require(request, "publish")
        number = troubles.retry(flow.pk)
        audit.record(request, "flow.retried", flow, people=number)
        words = ngettext("%d person tries again now.", "%d people try again now.", number) % number
        return pages.drawn(request, flow, words, "flow-trouble")
    key, _colon, why = flow.error.partition(": ")
    held = Enrollment.objects.filter(flow=flow, state=Enrollment.State.ACTIVE, step_state__error=True).count()
    values = pages.context(
        request, flow, step=roster.step_words(flow).get(key, key), why=why or flow.error, held=held
    )
    return pages.fragment(request, "trouble", values)
