"""One flow: who entered, how far they came, where and why they left, how long steps take, what messages did."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from analytics.reporting import columns as figures
from analytics.reporting import curves, daily, flowing, lifted, parts
from analytics.reporting.query import GOALS, Query
from analytics.reporting.shapes import Chart, Choice, Layout, Report, Row, Sheet, Table
from analytics.reports import runs
from analytics.reports.definitions import Comparison, Figures
from analytics.reports.runs import Passing, Runs, Totals
from campaigns.flows import comparing, reasons, steps
from campaigns.flows.definition import Definition, Step
from campaigns.models import Flow, FlowVersion
from delivery.models import Message

CARDS = (
    *("entered", "inside", "completed", "completion_rate", "won", "exited", "exit_rate"),
    *("goals", "goal_rate"),
    *("value", "duration", "held_out"),
)
RUNS = (
    *("entered", "inside", "completed", "completion_rate", "won", "exited", "exit_rate"),
    *("goals", "goal_rate"),
)
MESSAGES = ("sent", "suppressed", "open_rate", "click_rate", "conversion_rate", "revenue", "unsubscribe_rate")
STEPS = (
    *("reached", "share", "here", "won_here", "left", "drop_off", "skipped"),
    *("median", "slow", "branch_share"),
)
VERSIONS = (*RUNS, "value", "duration")
LINES = ("entered", "completed", "exited", "goals")
ALL, LIVE, EARLIER = "all", "live", "earlier"


def build(query: Query) -> Sheet:
    """Totals, curves, the funnel, why people left, versions beside each other; a fixed number of queries."""
    flow = Flow.objects.select_related("live_version").get(pk=query.filters.flow or 0)
    numbers = _versions(flow, query.choice("version"))
    now = runs.of_flow(flow.pk, query.period, numbers, query.filters.segment)
    before = Runs(Totals())
    if query.compare:
        before = runs.of_flow(flow.pk, query.period.before, numbers, query.filters.segment)
    both = parts.total(query)
    live = flow.live_version.definition if flow.live_version else {}
    lift = lifted.table("flow", flow.pk) if live.get("holdout_percent") else None
    definition = _definition(flow, numbers)
    words = _words(definition)
    cards = [*flowing.columns(CARDS), *figures.columns(MESSAGES)]
    top = parts.carded(both, query, figures.columns(MESSAGES))
    top.values |= _totals(now.total, now.duration)
    if top.before is not None:
        top.before |= _totals(before.total, before.duration)
    return Sheet(
        cards=cards,
        figures=top,
        charts=[_entering(now, before, query), curves.over_time(query)],
        tables=[
            _funnel(flow, definition, words, now, before, query),
            _left(flow, words, now, before, query),
            _versions_table(flow, query, now, before),
            *([lift] if lift else []),
        ],
        notes=_notes(flow, now),
    )


def _versions(flow: Flow, choice: str) -> list[int] | None:
    """The numbers of the versions that are asked about; None for all."""
    live = flow.live_version.number if flow.live_version else 0
    if choice == LIVE:
        return [live]
    if choice == EARLIER:
        return list(
            FlowVersion.objects.filter(flow=flow, number__lt=live)
            .order_by("-number")
            .values_list("number", flat=True)[:1]
        )
    return None


def _totals(totals: Totals, duration: float | None) -> dict[str, Any]:
    return {
        **flowing.values(totals, [key for key in CARDS if key != "duration"]),
        "duration": duration,
    }


def _entering(now: Runs, before: Runs, query: Query) -> Chart:
    days = daily.drawn(query.period, now.days)
    found = {**before.days, **now.days}
    return daily.chart(
        "entering",
        _("Who entered, by the day of entering"),
        days,
        [
            (column, {day: getattr(each, column.key) for day, each in found.items()})
            for column in flowing.columns(LINES)
        ],
        before=(query.period.first - query.period.before.first) if query.compare else None,
    )


def _definition(flow: Flow, numbers: Sequence[int] | None) -> Definition:
    """The steps that are shown: of the version that is asked about, else of the live one, else of the draft."""
    live = flow.live_version
    if numbers and (live is None or numbers[0] != live.number):
        return comparing.read(FlowVersion.objects.get(flow=flow, number=numbers[0]).definition)
    return comparing.read(live.definition if live else flow.draft)


def _words(definition: Definition) -> dict[str, str]:
    """The steps in words, by key; those that send, which are the most, with one query for all."""
    found = comparing.in_order(definition)
    slugs = {step.key: step.config.get("message") for step in found if step.kind == "message"}
    wanted = [slug for slug in slugs.values() if isinstance(slug, str)]
    names = dict(Message.objects.filter(slug__in=wanted).values_list("slug", "name"))
    label = str(steps.registry["message"].label)
    return {
        step.key: f"{label}: {names[slug]}"
        if (slug := slugs.get(step.key)) in names
        else comparing.words(step)
        for step in found
    }


def _funnel(
    flow: Flow, definition: Definition, words: dict[str, str], now: Runs, before: Runs, query: Query
) -> Table:
    sent = parts.found("step", query)
    rows = []
    for depth, step, branch in _walk(definition.steps):
        if query.filters.step and step.key != query.filters.step:
            continue
        if branch is not None:
            rows.append(_branch(step, branch, depth, now, before, query))
        else:
            rows.append(_step(flow, step, words, depth, now, before, sent.get((flow.pk, step.key)), query))
    # Counts are taken one after the other while the flow goes on.
    elsewhere = max(0, now.total.inside - sum(row.values["here"] or 0 for row in rows))
    return Table(
        slug="funnel",
        title=_("Step by step"),
        head=_("Step"),
        columns=[*flowing.columns(STEPS), *figures.columns(MESSAGES)],
        rows=rows,
        layout=Layout.FUNNEL,
        bar="share",
        note=ngettext(
            "%d run is held before the first step, or at one that this version does not have.",
            "%d runs are held before the first step, or at ones that this version does not have.",
            elsewhere,
        )
        % elsewhere
        if elsewhere and not query.filters.step
        else "",
        empty=_("This flow has no steps yet."),
    )


def _walk(sequence: Sequence[Step], depth: int = 0) -> Iterator[tuple[int, Step, str | None]]:
    """Steps as they are read, each branch of a split followed by its own: (how far indented, step, branch)."""
    for step in sequence:
        yield depth, step, None
        for branch in step.branches:
            yield depth + 1, step, branch.name
            yield from _walk(branch.steps, depth + 2)


def _step(
    flow: Flow,
    step: Step,
    words: dict[str, str],
    depth: int,
    now: Runs,
    before: Runs,
    sent: Comparison | None,
    query: Query,
) -> Row:
    kind = steps.registry.get(step.kind)
    row = Row(
        key=step.key,
        label=words[step.key],
        values=_passing(now, step.key),
        before=_passing(before, step.key) if query.compare else None,
        depth=depth,
        icon=kind.icon if kind else "",
        note=step.note,
        link=_people(flow, step=step.key, state="active"),
    )
    if step.kind == "message":
        did = parts.row(step.key, "", sent or Comparison(Figures(), Figures()), query, MESSAGES)
        row.narrows = {"step": step.key}
        if sent and isinstance(slug := step.config.get("message"), str):
            row.leads = ("message", {"message": slug, "flow": str(flow.pk), "step": step.key})
        row.values |= did.values
        if row.before is not None and did.before is not None:
            row.before |= did.before
    return row


def _passing(found: Runs, key: str) -> dict[str, Any]:
    line, entered = found.steps.get(key, Passing()), found.total.entered
    return {
        **dict.fromkeys(MESSAGES),
        **{name: getattr(line, name) for name in ("reached", "here", "left", "skipped", "median", "slow")},
        "won_here": line.won,
        "share": line.reached / entered if entered else None,
        # Where runs are sampled, those that left are all of them and those that came are estimated.
        "drop_off": min(1.0, line.left / line.reached) if line.reached else None,
        "branch_share": None,
    }


def _branch(step: Step, branch: str, depth: int, now: Runs, before: Runs, query: Query) -> Row:
    return Row(
        key=f"{step.key}:{branch}",
        label=_("Branch “%s”") % branch,
        values=_taken(now, step.key, branch),
        before=_taken(before, step.key, branch) if query.compare else None,
        depth=depth,
        icon="subdirectory_arrow_right",
    )


def _taken(found: Runs, key: str, branch: str) -> dict[str, Any]:
    branches, entered = found.steps.get(key, Passing()).branches, found.total.entered
    taken, every = branches.get(branch, 0), sum(branches.values())
    return {
        **dict.fromkeys((*STEPS, *MESSAGES)),
        "reached": taken,
        "share": taken / entered if entered else None,
        "branch_share": taken / every if every else None,
    }


def _left(flow: Flow, words: dict[str, str], now: Runs, before: Runs, query: Query) -> Table:
    """Why runs ended before their end, and at which step."""
    exited, exited_before = now.total.exited, before.total.exited
    rows = []
    for (step, reason), number in now.reasons.items():
        earlier = before.reasons.get((step, reason), 0)
        rows.append(
            Row(
                key=f"{step}:{reason}",
                label=reasons.ended_words("exited", reason),
                values={"left": number, "left_share": number / exited},
                before={"left": earlier, "left_share": earlier / exited_before if exited_before else None}
                if query.compare
                else None,
                note=words.get(step, step) if step else _("Before the first step"),
                link=_people(flow, step=step, state="exited"),
            )
        )
    return Table(
        slug="left_early",
        title=_("Why people left early"),
        head=_("Why, and at which step"),
        columns=flowing.columns(("left", "left_share")),
        rows=rows,
        total=Row(
            key="",
            label=_("All who left early"),
            values={"left": exited, "left_share": 1.0 if exited else None},
            before={"left": exited_before, "left_share": 1.0 if exited_before else None}
            if query.compare
            else None,
        ),
        empty=_("Nobody has left early."),
    )


def _versions_table(flow: Flow, query: Query, now: Runs, before: Runs) -> Table:
    """The versions beside each other; who was moved to another one counts there."""
    live = flow.live_version.number if flow.live_version else None
    rows = [
        Row(
            key=str(number),
            label=_("Version %d, live") % number if number == live else _("Version %d") % number,
            values=_of_version(now, number),
            before=_of_version(before, number) if query.compare else None,
            link=_people(flow, version=str(number), state=""),
        )
        for number in sorted(now.versions, reverse=True)
    ]
    return Table(
        slug="versions",
        title=_("Versions beside each other"),
        head=_("Version"),
        columns=flowing.columns(VERSIONS),
        rows=rows,
        note=_("Who was moved to another version counts there. Other people entered each, at other times."),
        empty=_("Nobody entered in this period."),
    )


def _of_version(found: Runs, number: int) -> dict[str, Any]:
    keys = [key for key in VERSIONS if key != "duration"]
    return {
        **flowing.values(found.versions.get(number, Totals()), keys),
        "duration": found.durations.get(number),
    }


def _people(flow: Flow, **asked: str) -> tuple[str, str]:
    """The page of the flow's people, narrowed to these; it is about all times."""
    return (
        f"{reverse('admin:campaigns_flow_inside', args=[flow.pk])}?{urlencode(asked)}",
        "campaigns.view_flow",
    )


def _notes(flow: Flow, now: Runs) -> list[str]:
    found = [
        _(
            "People are those who entered in the period, with what has become of them until now; messages are those"
            " sent in the period."
        )
    ]
    if flow.live_version is None:
        found.append(_("The flow was never published; the steps are those of its draft."))
    if now.one_in > 1:
        found.append(
            _("What is told by step, and how long it took, is estimated from one in %d runs.") % now.one_in
        )
    return found


REPORT = Report(
    slug="flow",
    title=gettext_lazy("Flow"),
    description=gettext_lazy(
        "One flow: its funnel, how long steps take, where and why people leave, its versions and messages."
    ),
    group="messages",
    permission="campaigns.view_flow",
    takes=frozenset({"flow", "step", "segment", "machines"}) | GOALS,
    subject="flow",
    build=build,
    choices=(
        Choice(
            name="version",
            label=gettext_lazy("Versions"),
            options=(
                (ALL, gettext_lazy("all")),
                (LIVE, gettext_lazy("the live one")),
                (EARLIER, gettext_lazy("the one before")),
            ),
        ),
    ),
    icon="account_tree",
)
