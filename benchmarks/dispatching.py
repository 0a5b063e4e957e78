"""Sending without a network: from due rows to recorded results, in batches of 1,000, beside one delivery at a time.

BENCH_DISPATCHING says how many deliveries are sent (20,000 unless set; 200,000 shows that memory stays flat).
"""

import os
import tempfile
from pathlib import Path

from benchmarks.product import product
from benchmarks.table import Row, row

DELIVERIES = int(os.environ.get("BENCH_DISPATCHING", "20000"))


def rows() -> list[Row]:
    """Measure in a process with the product's settings."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, product(Path(folder)) as served:
        figures = served.figures("benchmarks.dispatching_work")
    return [
        row(
            f"dispatch without a network, {DELIVERIES:,} queued, {figures['queries']:.0f} queries a batch,"
            f" {figures['grown']:.0f} MB more at the end than after a tenth",
            figures["batches"],
            "deliveries/s",
            "one at a time",
            figures["by_hand"],
        ),
    ]
