"""Run all benchmarks, or those whose names are given, and print one table.

python -m benchmarks [ingest] [push] [sync]
"""

import importlib
import sys

from benchmarks.table import Row, show

ALL = ("ingest", "push", "sync")


def main(names: list[str]) -> int:
    """Run the named benchmarks; an unknown name is answered with the known ones."""
    unknown = set(names) - set(ALL)
    if unknown:
        print(
            f"There is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ALL)}.",
            file=sys.stderr,
        )
        return 2
    rows: list[Row] = []
    for name in names or ALL:
        print(f"· {name} …", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"benchmarks.{name}").rows()
    print(show(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
