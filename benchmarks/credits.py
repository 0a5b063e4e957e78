"""Who has the credit for what: crediting purchases as the reader comes to them, and all of them anew.

Beside a hand-written statement that finds the last click before each purchase and adds up what messages earned by day,
on the same data in the same run, once for each attribution model: that is what somebody would run for each of them.
The size comes from NUDGE_BENCH_DELIVERIES (200,000 by default); one purchase comes for every 20 deliveries.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.product import ROOT
from benchmarks.table import Row, row

_STOP = "import sys, pathlib; from config import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"


def rows() -> list[Row]:
    """Fill a database of its own and measure in it; ratios are ours to theirs in events a second."""
    found = measured(int(os.environ.get("NUDGE_BENCH_DELIVERIES", "200000")))
    size = f"{found['events']:,} purchases, {found['deliveries']:,} deliveries, {found['models']} models"
    hand = f"hand-written SQL of the last click, {found['models']} times"
    return [
        row(
            f"credits in the reader ({size})",
            found["events"] / found["reading"],
            "events/s",
            hand,
            found["events"] / found["by_hand"],
        ),
        row(
            "all credits and their figures by day made anew",
            found["events"] / found["recompute"],
            "events/s",
            hand,
            found["events"] / found["by_hand"],
        ),
    ]


def measured(deliveries: int) -> dict:
    """What `benchmarks.credits_work` measures, with times in seconds."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
        env = os.environ | {"NUDGE_DATA": folder, "NUDGE_DEMO": "0", "NUDGE_LOG_LEVEL": "ERROR"}
        try:
            subprocess.run(
                [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, capture_output=True
            )
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.credits_work", str(deliveries)],
                cwd=ROOT,
                env=env,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        finally:
            subprocess.run([sys.executable, "-c", _STOP, str(Path(folder))], cwd=ROOT, check=False)
    return json.loads(done.stdout.strip().splitlines()[-1])
