"""The faults of CRM syncing, met by worlds of thousands of records: what was checked, and how long it took.

Runs the tests of tests/crm/sync with larger worlds. It takes many minutes, so it is run only when it is named.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests/crm/sync"
FILES = ("test_faults.py", "test_faults_records.py", "test_faults_processes.py")
RECORDS, ONE_MOMENT = 5_000, 12_000
TIED = "test_f8_many_records_of_one_moment"
CONNECTORS = ("hubspot", "salesforce", "zoho")

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:xdist")

Cell = list[tuple[bool, float]]


def report() -> str:
    """A Markdown table of faults and connectors; each cell tells how many checks held, and their seconds."""
    cells: dict[str, dict[str, Cell]] = defaultdict(lambda: defaultdict(list))
    for arguments, records in ((["-k", f"not {TIED}"], RECORDS), (["-k", TIED], ONE_MOMENT)):
        for name, held, seconds in _run(arguments, records):
            fault = re.search(r"(?<![a-z])[fi]\d+(?!\d)", name, re.IGNORECASE)
            connector = next((one for one in CONNECTORS if one in name), "hubspot")
            cells[fault[0].upper() if fault else name][connector].append((held, seconds))
    lines = ["| fault | " + " | ".join(CONNECTORS) + " |", "| --- |" + " --- |" * len(CONNECTORS)]
    for fault in sorted(cells, key=lambda name: (name[0], int(name[1:]) if name[1:].isdecimal() else 0)):
        lines.append(f"| {fault} | " + " | ".join(_cell(cells[fault][one]) for one in CONNECTORS) + " |")
    return "\n".join(
        [*lines, "", f"{RECORDS:,} records in each world, {ONE_MOMENT:,} in F8's; I1-I9 after each."]
    )


def _cell(runs: Cell) -> str:
    if not runs:
        return "–"
    held = sum(well for well, _ in runs)
    return f"{'' if held == len(runs) else '**broken** '}{held}/{len(runs)}, {sum(s for _, s in runs):.0f} s"


def _run(arguments: list[str], records: int) -> list[tuple[str, bool, float]]:
    """Run tests in worlds of so many records; (test, whether it passed, seconds) of each."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.xml"
        subprocess.run(
            [*PYTEST, *(str(TESTS / name) for name in FILES), *arguments, f"--junit-xml={result}"],
            cwd=ROOT,
            env={**os.environ, "FAULTS_PEOPLE": str(records)},
            stdout=sys.stderr,
            check=False,
        )
        cases = ElementTree.parse(result).iter("testcase")
        return [
            (
                str(case.get("name")),
                case.find("failure") is None and case.find("error") is None,
                float(case.get("time", "0")),
            )
            for case in cases
        ]
