"""Run all benchmarks, or those whose names are given, and print one table.

python -m benchmarks [ingest] [readers] [push] [sync] [computed] [catalogue] [segments] [moving] [flows] [broadcasts]
    [email] [sms] [policies] [dispatching] [statistics] [tracking] [credits]
python -m benchmarks faults|chaos|chaos_delivery|storm|reports take many minutes, print tables of their own, and run
    only when they are named
"""

import importlib
import sys

from benchmarks.table import Differs, Row, show

ALL = (
    "ingest",
    "readers",
    "push",
    "sync",
    "computed",
    "catalogue",
    "segments",
    "moving",
    "flows",
    "broadcasts",
    "email",
    "sms",
    "policies",
    "dispatching",
    "statistics",
    "tracking",
    "credits",
)
NAMED = ("faults", "chaos", "chaos_delivery", "storm", "reports")


def main(names: list[str]) -> int:
    """Run the named benchmarks; an unknown name is answered with the known ones."""
    unknown = set(names) - {*ALL, *NAMED}
    if unknown:
        print(
            f"There is no benchmark {', '.join(sorted(unknown))}; there are {', '.join((*ALL, *NAMED))}.",
            file=sys.stderr,
        )
        return 2
    rows: list[Row] = []
    code = 0
    for name in names or ALL:
        print(f"· {name} …", file=sys.stderr, flush=True)
        module = importlib.import_module(f"benchmarks.{name}")
        if hasattr(module, "report"):
            try:
                print(module.report())
            except Differs as found:
                print(found)
                code = 1
        else:
            rows += module.rows()
    if rows:
        print(show(rows))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
