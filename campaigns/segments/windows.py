"""The window of time in which events count."""

from datetime import datetime

import msgspec
from django.utils.translation import gettext as _

from crm.rules import moments
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql


class Within(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """`{"last": {"days": 30}}`, or `{"from": …, "to": …}` with both ends included."""

    last: moments.Span | None = None
    start: str | None = None
    end: str | None = None

    def check(self, path: str) -> None:
        """Raises RuleError unless it is one of the two forms, and not empty."""
        if self.last is not None:
            if self.start is not None or self.end is not None:
                raise RuleError(_("Give either “last” or “from” and “to”."), path)
            self.last.check(f"{path}.last")
        elif self.start is None and self.end is None:
            raise RuleError(_("Give “last”, or “from” and “to”."), path)
        start = moments.parse(self.start, f"{path}.from") if self.start is not None else None
        end = moments.parse(self.end, f"{path}.to") if self.end is not None else None
        if start and end and (end.end or end.start) < start.start:
            raise RuleError(_("The end lies before the start."), f"{path}.to")

    def low(self, now: datetime) -> datetime | None:
        """The earliest moment inside, or None."""
        if self.last is not None:
            return now - self.last.length
        return moments.parse(self.start, "").start if self.start is not None else None

    def bounds(self, column: Sql, now: datetime, since: datetime | None = None) -> list[Sql]:
        """SQL for: the moment in `column` lies inside, now or at some moment after `since`."""
        low, bounds = self.low(since or now), []
        if low is not None:
            bounds.append(sql("{} >= {}::timestamptz", column, low))
        if self.last is not None:
            bounds.append(sql("{} <= {}::timestamptz", column, now))
        elif self.end is not None:
            start, end = moments.parse(self.end, "")
            bounds.append(
                sql("{} < {}::timestamptz", column, end)
                if end
                else sql("{} <= {}::timestamptz", column, start)
            )
        return bounds

    def crossed(self, column: Sql, since: datetime, now: datetime) -> list[Sql]:
        """SQL for: the moment in `column` went out, or came in, after `since` and until now."""
        if self.last is None:
            return []
        length = self.last.length
        return [
            sql(
                "{} >= {}::timestamptz AND {} < {}::timestamptz", column, since - length, column, now - length
            ),
            sql("{} > {}::timestamptz AND {} <= {}::timestamptz", column, since, column, now),
        ]
