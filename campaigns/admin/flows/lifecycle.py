"""Publishing, pausing, resuming and stopping: each asks in a dialog that says what it does to how many people."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.admin.flows import pages, tree
from campaigns.admin.flows.changes import changes
from campaigns.flows import publish as life
from campaigns.flows.definition import DefinitionError
from campaigns.flows.editing import StaleDraftError
from campaigns.models import Flow
from delivery.models import Delivery


def publish(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Show what keeps the draft from going live, or what going live changes; on POST, do it."""
    if request.method == "POST":
        pages.require(request, "publish")
        try:
            with transaction.atomic():
                if Flow.objects.select_for_update().get(pk=flow.pk).revision != pages.revision(request):
                    raise StaleDraftError
                version = life.publish(flow.pk, request.user)
        except DefinitionError:
            return _publish_dialog(request, flow)
        model_admin.log_change(request, flow, _("Published version %d.") % version.number)
        return pages.drawn(request, flow, _("Version %d is live") % version.number, "flow-publish")
    return _publish_dialog(request, flow)


def _publish_dialog(request: HttpRequest, flow: Flow) -> HttpResponse:
    drawn = tree.build(flow)
    found = {} if drawn.problems else changes(flow)
    values = pages.context(
        request,
        flow,
        tree=drawn,
        problems=drawn.by_step,
        changes=[(CHANGE_WORDS[what](), lines) for what, lines in found.items() if lines],
        unreachable=drawn.unreachable,
        inside=drawn.totals.inside,
    )
    return pages.fragment(request, "publish", values)


CHANGE_WORDS = {
    "added": lambda: _("New"),
    "removed": lambda: _("Taken out"),
    "changed": lambda: _("Changed"),
    "moved": lambda: _("Moved"),
}


def pause(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Hold everybody where they are."""
    inside = flow.enrollments.filter(state="active").count()
    people = ngettext("%d person holds their place.", "%d people hold their place.", inside) % inside
    return _change(
        request,
        flow,
        model_admin,
        name="pause",
        title=_("Pause the flow?"),
        lines=[
            people,
            _("Nobody enters, nobody moves on. What happens meanwhile starts nobody, even after the pause."),
        ],
        button=_("Pause"),
        act=lambda: life.pause(flow.pk),
        done=_("The flow is paused"),
    )


def resume(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Go on after a pause."""
    active = flow.enrollments.filter(state="active")
    inside, due = active.count(), active.filter(due_at__lte=timezone.now()).count()
    return _change(
        request,
        flow,
        model_admin,
        name="resume",
        title=_("Resume the flow?"),
        lines=[
            ngettext("%d person goes on.", "%d people go on.", inside) % inside,
            due
            and ngettext(
                "%d of them moves at once, because a wait ended during the pause.",
                "%d of them move at once, because their waits ended during the pause.",
                due,
            )
            % due,
        ],
        button=_("Resume"),
        act=lambda: life.resume(flow.pk),
        done=_("The flow goes on"),
    )


def stop(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """End all runs."""
    inside = flow.enrollments.filter(state="active").count()
    waiting = Delivery.objects.filter(
        origin_type=Delivery.Origin.FLOW, origin_id=flow.pk, state__in=Delivery.WAITING
    ).count()
    return _change(
        request,
        flow,
        model_admin,
        name="stop",
        title=_("Stop the flow?"),
        lines=[
            ngettext("%d person leaves the flow now.", "%d people leave the flow now.", inside) % inside,
            waiting
            and ngettext(
                "%d message that waits to go out is not sent.",
                "%d messages that wait to go out are not sent.",
                waiting,
            )
            % waiting,
            _("This can't be undone. Publishing again starts new runs only."),
        ],
        button=_("Stop for everybody"),
        act=lambda: life.stop(flow.pk),
        done=_("The flow is stopped"),
        danger=True,
    )


def _change(
    request, flow: Flow, model_admin, name, title, lines, button, act, done, danger=False
) -> HttpResponse:
    if request.method != "POST":
        values = pages.context(
            request,
            flow,
            title=title,
            lines=[line for line in lines if line],
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
