"""What came of messages, by channel."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting.columns import USUAL, columns, compared
from analytics.reporting.query import ALL_FILTERS, GOALS, Query
from analytics.reporting.shapes import Report, Row, Sheet, Table
from analytics.reports import figures
from analytics.reports.definitions import Comparison, Figures
from delivery import channels

COLUMNS = (*USUAL, "bounce_rate", "complaint_rate")


def build(query: Query) -> Sheet:
    """A row for each channel that sent or should have sent something."""
    found = figures.by_before("channel", query.period, query.filters)
    known = channels.everything()
    rows = []
    for key, both in sorted(found.items(), key=lambda item: -item[1].now.sent):
        now, before = compared(both, COLUMNS, query.compare)
        label = str(known[key].label) if key in known else key
        rows.append(Row(key=key, label=label, values=now, before=before, narrows={"channel": key}))
    total = figures.compare(query.period, query.filters) if found else Comparison(Figures(), Figures())
    now, before = compared(total, COLUMNS, query.compare)
    every = Row(key="", label=_("All channels"), values=now, before=before, narrows={})
    return Sheet(
        cards=columns(COLUMNS),
        figures=every,
        tables=[
            Table(
                slug="channels",
                title=_("By channel"),
                head=_("Channel"),
                columns=columns(COLUMNS),
                rows=rows,
                total=every,
                empty=_("Nothing was sent in this period."),
            )
        ],
    )


REPORT = Report(
    slug="channels",
    title=gettext_lazy("Channels"),
    description=gettext_lazy("Web push, email, SMS and the others beside each other."),
    group="messages",
    permission="delivery.view_message",
    takes=(ALL_FILTERS | GOALS) - {"channel"},
    build=build,
    icon="hub",
)
