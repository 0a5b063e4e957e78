"""Attributes that are computed from events: defined without code, kept up to date, usable wherever fields are.

`kinds` says what can be computed and how it reads in SQL, `definitions` creates and changes attributes, `backfill`
computes one for everybody, `keeping` follows the event log and the clock, `reading` hands values out.
"""

from crm.computed.reading import Shown, fresh_at, shown, values

__all__ = ["Shown", "fresh_at", "shown", "values"]
