"""Deciding what may go out: deliveries in batches of 1,000 with every policy on, beside one person at a time.

BENCH_POLICIES says how many deliveries are decided (10,000 unless set). Each person has some history, so that the
limits have something to count. Counted is the CPU time of the process and of the database together: the clock tells
little where others use the machine.
"""

import os
import tempfile
from pathlib import Path

from benchmarks.product import product
from benchmarks.table import Row, row

DELIVERIES = int(os.environ.get("BENCH_POLICIES", "10000"))


def rows() -> list[Row]:
    """Measure in a process with the product's settings."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, product(Path(folder)) as served:
        figures = served.figures("benchmarks.policies_work")
    return [
        row(
            f"policies, all on, batches of 1,000, {figures['queries']:.0f} queries each",
            figures["batches"],
            "deliveries/s per core",
            "one person at a time, Django",
            figures["by_hand"],
        ),
        row(
            "policies, no rules set, batches of 1,000",
            figures["plain"],
            "deliveries/s per core",
            "with every policy on",
            figures["batches"],
        ),
    ]
