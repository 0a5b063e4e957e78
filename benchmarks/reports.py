"""Reports over many deliveries: how long each view takes, how far figures lag behind, and counting everything anew.

The rebuild stands beside hand-written SQL: a statement that makes such facts of the log, with the same indexes, and one
that counts the same from them. BENCH_REPORTS says how many deliveries there are (200,000 unless set; the goals are for
10,000,000 with 6,000,000 engagement events, which take about 25 GB). With NUDGE_BENCH_KEEP, a folder, the database is
made there and stays, and the next run takes what it finds there.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.product import product

DELIVERIES = int(os.environ.get("BENCH_REPORTS", "200000"))
VIEW_MS = 300
LAG_SECONDS = 10


def report() -> str:
    """The table."""
    with _folder() as folder, product(Path(folder)) as served:
        found = served.figures("benchmarks.reports_work")
    return _table(found)


def _table(found: dict[str, Any]) -> str:
    lines = [
        f"{found['deliveries']:,} deliveries, {found['events']:,} events about them",
        "",
        "| view | first ms | then p50 ms | p95 ms | goal ms |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {first:,.0f} | {p50:,.0f} | {p95:,.0f} | {VIEW_MS} |"
            for name, first, p50, p95 in found["views"]
        ),
        "",
        "| work | ours | beside | ratio |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {ours:,.1f} s | {what}: {theirs:,.1f} s | {ours / theirs:.2f} |"
            for name, ours, what, theirs in found["work"]
        ),
        "",
        "{credits:,.0f} credits for goals are given anew in {seconds:,.0f} s.".format(**found["attribution"]),
        "While {rate:,.0f} events/s came it was {lag:.1f} s behind at most (goal {0}).".format(
            LAG_SECONDS, **found
        ),
        "Alone it reads {reads:,.0f} events/s.".format(**found),
        "The rebuild holds {grown:.0f} MB more at the end than after a tenth;".format(**found),
        "its longest step took {longest:.1f} s.".format(**found),
        f"{found['rows']:,} rows of figures, {found['rows_mb']:.0f} MB; facts {found['facts_mb']:.0f} MB.",
    ]
    return "\n".join(lines)


@contextmanager
def _folder() -> Iterator[str]:
    kept = os.environ.get("NUDGE_BENCH_KEEP")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield kept
    else:
        with tempfile.TemporaryDirectory(prefix="nudge-bench-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            yield folder
