"""All flows beside each other: their people, and what their messages did."""

from collections.abc import Mapping

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from msgspec import structs

from analytics.reporting import columns as figures
from analytics.reporting import curves, flowing, parts
from analytics.reporting.query import GOALS, Query
from analytics.reporting.shapes import Column, Kind, Report, Row, Sheet, Table
from analytics.reports import runs
from analytics.reports.definitions import Comparison, Figures
from analytics.reports.runs import Totals
from campaigns.models import Flow

CARDS = ("entered", "inside", "completed", "won", "exited", "goals", "goal_rate")
RUNS = ("entered", "inside", "completed", "won", "exited", "exit_rate", "goals", "goal_rate")
MESSAGES = ("sent", "open_rate", "click_rate", "conversion_rate", "revenue", "unsubscribe_rate")


def build(query: Query) -> Sheet:
    """A row for each flow that somebody entered in the period, or that has sent something; most entered first."""
    now = runs.by_flow(query.period, query.filters.segment)
    before = runs.by_flow(query.period.before, query.filters.segment) if query.compare else {}
    sent = parts.found("flow", query)
    if query.filters.flow is not None:
        now, before = _only(now, query.filters.flow), _only(before, query.filters.flow)
    wanted = Flow.objects.filter(pk__in=now.keys() | before.keys() | sent.keys())
    rows = [_row(flow, now, before, sent.get(flow.pk), query) for flow in wanted]
    rows.sort(key=lambda row: (-row.values["entered"], row.label))
    query = structs.replace(query, filters=structs.replace(query.filters, origin="flow"))
    both = parts.total(query)
    every = _values("", _("All flows"), _added(now), _added(before), both, query)
    every.narrows = {"origin": "flow"}
    return Sheet(
        cards=[*flowing.columns(CARDS), *figures.columns(("sent", "conversion_rate", "revenue"))],
        figures=every,
        charts=[curves.over_time(query)],
        tables=[
            Table(
                slug="flows",
                title=_("Flows"),
                head=_("Flow"),
                columns=[_STATE, *flowing.columns(RUNS), *figures.columns(MESSAGES)],
                rows=rows,
                total=every,
                note=_(
                    "People are those who entered in the period; messages are those sent in the period, also to people"
                    " who entered before."
                ),
                empty=_("Nobody entered a flow in this period."),
            )
        ],
    )


_STATE = Column(
    key="state",
    label=gettext_lazy("State"),
    definition=gettext_lazy("What the flow is doing now."),
    kind=Kind.TEXT,
)


def _row(
    flow: Flow,
    now: Mapping[int, Totals],
    before: Mapping[int, Totals],
    both: Comparison | None,
    query: Query,
) -> Row:
    row = _values(
        flow.slug,
        flow.name,
        now.get(flow.pk, Totals()),
        before.get(flow.pk, Totals()),
        both or Comparison(Figures(), Figures()),
        query,
    )
    row.values["state"] = str(Flow.State(flow.state).label)
    row.narrows = {"flow": str(flow.pk)}
    row.leads = ("flow", {"flow": flow.slug})
    return row


def _values(key: str, label: str, now: Totals, before: Totals, both: Comparison, query: Query) -> Row:
    row = parts.row(key, label, both, query, MESSAGES)
    row.values |= {"state": "", **flowing.values(now, RUNS)}
    if row.before is not None:
        row.before |= flowing.values(before, RUNS)
    return row


def _only(of: Mapping[int, Totals], flow: int) -> dict[int, Totals]:
    return {key: each for key, each in of.items() if key == flow}


def _added(of: Mapping[int, Totals]) -> Totals:
    total = Totals()
    for each in of.values():
        for name in Totals.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(each, name))
    return total


REPORT = Report(
    slug="flows",
    title=gettext_lazy("Flows"),
    description=gettext_lazy("Who entered each flow, how far they came, and what its messages did."),
    group="messages",
    permission="campaigns.view_flow",
    takes=frozenset({"flow", "segment", "channel", "message", "machines"}) | GOALS,
    build=build,
    icon="account_tree",
)
