"""Counts by day for reports: made from facts, kept in step with them by the log's reader.

`seen` turns events into facts, `keeping` stores these and adds the difference they make to the figures, `columns` says
what is counted, `rebuild` counts everything anew beside the running reader.
"""
