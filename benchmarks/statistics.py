"""The statistics of experiments in worlds where the truth is known: do they keep what they promise?

Every line tells what was measured, what it has to be, and what the usual way of doing it comes to in the same worlds.
About a minute.
"""

import math
import sys
import time
from collections.abc import Callable

import msgspec
import numpy as np

from analytics.experiments import bayes, shares
from analytics.experiments.arms import Arm
from benchmarks import statistics_peeking as peeking
from benchmarks import statistics_worlds as worlds
from benchmarks.table import Differs

SEED = 20_260_101
NOMINAL = 0.05


class Line(msgspec.Struct):
    """One figure, the bounds it must lie in, and the usual way's figure."""

    what: str
    measured: float
    low: float
    high: float
    beside: str = ""
    theirs: float | None = None
    style: str = ".1%"

    @property
    def holds(self) -> bool:
        """Whether it lies in its bounds."""
        return self.low <= self.measured <= self.high


def report() -> str:
    """The table; raises Differs with it if a figure is out of its bounds."""
    lines: list[Line] = []
    for part in (_peeking, _coverage, _power, _ratio, _lift, _history, _bandit, _speed):
        began = time.process_time()
        lines += part(np.random.default_rng(SEED))
        print(
            f"  {part.__name__.strip('_')}: {time.process_time() - began:.1f} s of CPU",
            file=sys.stderr,
            flush=True,
        )
    table = show(lines)
    if not all(line.holds for line in lines):
        raise Differs(table)
    return table


def show(lines: list[Line]) -> str:
    """The lines as a Markdown table; what is out of bounds is marked."""
    head = ["| what | measured | must be | beside | theirs |", "| --- | ---: | --- | --- | ---: |"]
    return "\n".join([*head, *(_row(line) for line in lines)])


def _row(line: Line) -> str:
    def said(number: float) -> str:
        return format(number, line.style)

    if math.isinf(line.low):
        must = f"≤ {said(line.high)}"
    else:
        must = f"≥ {said(line.low)}" if math.isinf(line.high) else f"{said(line.low)} to {said(line.high)}"
    mark = "" if line.holds else "**broken** "
    theirs = "" if line.theirs is None else said(line.theirs)
    return f"| {line.what} | {mark}{said(line.measured)} | {must} | {line.beside} | {theirs} |"


def _peeking(rng: np.random.Generator) -> list[Line]:
    """60 daily looks at arms that are alike."""
    naive = "z-test at each look"
    cases: list[tuple[str, Callable[[], tuple[float, float]], str]] = [
        ("3 % convert, 200 people a day", lambda: peeking.peeking(rng, 20_000, 0.03, [200, 200]), naive),
        ("30 % convert, 20 a day", lambda: peeking.peeking(rng, 20_000, 0.3, [20, 20]), naive),
        ("0.5 % convert, 1,000 a day", lambda: peeking.peeking(rng, 20_000, 0.005, [1_000, 1_000]), naive),
        ("3 %, 20,000 a day", lambda: peeking.peeking(rng, 20_000, 0.03, [20_000, 20_000]), naive),
        ("3 %, holdout of 10 %", lambda: peeking.peeking(rng, 20_000, 0.03, [900, 100]), naive),
        ("0.5 %, holdout of 5 %", lambda: peeking.peeking(rng, 20_000, 0.005, [950, 50]), naive),
        ("3 %, converting 3 days later", lambda: peeking.peeking(rng, 20_000, 0.03, [200, 200], 3.0), naive),
        (
            "complaints of 0.05 %, 2,000 a day",
            lambda: peeking.peeking(rng, 20_000, 0.0005, [2_000, 2_000]),
            naive,
        ),
        ("any of 4 arms beside the control", lambda: peeking.peeking_at_many(rng, 10_000), naive),
        (
            "revenue, log-normal baskets",
            lambda: peeking.peeking_at_value(rng, 4_000),
            "Welch's test at each look",
        ),
        (
            "revenue, holdout of 10 %",
            lambda: peeking.peeking_at_value(rng, 4_000, daily=(900, 100)),
            "Welch's test at each look",
        ),
    ]
    lines = []
    for name, run, beside in cases:
        ours, theirs = run()
        lines.append(Line(f"false positives, 60 looks: {name}", ours, -math.inf, NOMINAL, beside, theirs))
    ours, theirs = peeking.peeking_with_history(rng, 1_000)
    lines.append(
        Line("false positives, 30 looks: CUPED", ours, -math.inf, NOMINAL, "z-test at each look", theirs)
    )
    none, one = peeking.winners(rng, 150, (0.04, 0.04, 0.036)), peeking.winners(rng, 150, (0.04, 0.04, 0.052))
    lines.append(Line("3 arms, no single best: one is named", none["wrong"], -math.inf, NOMINAL))
    lines.append(Line("3 arms, one better by 1.2 points: another is named", one["wrong"], -math.inf, NOMINAL))
    lines.append(Line("the same: it is named, within 40 days at 1,200 people", one["right"], 0.5, math.inf))
    return lines


def _coverage(rng: np.random.Generator) -> list[Line]:
    around = {"low": 0.935, "high": 0.965}
    return [
        Line("95 % credible interval of a rate holds it", worlds.rate_coverage(rng, 20_000), **around),
        Line(
            "95 % credible interval of revenue per person, 90 buyers",
            worlds.value_coverage(rng, 10_000, 3_000),
            **around,
        ),
        Line(
            "95 % credible interval of revenue per person, 300 buyers",
            worlds.value_coverage(rng, 10_000, 10_000),
            **around,
        ),
        Line(
            "confidence sequence holds the difference at all 60 looks",
            peeking.sequence_coverage(rng, 20_000),
            0.95,
            1,
        ),
    ]


def _power(rng: np.random.Generator) -> list[Line]:
    found = worlds.power(rng, 20_000)
    return [
        Line("power of the always-valid plan, 80 % asked for", found["power"], 0.785, 0.815),
        Line("power of the plan for one look, 80 % asked for", found["power once"], 0.785, 0.815),
        Line("people at most, to those of a single look", found["price"], 1, 2, style=".2f"),
        Line(
            "people on average with the effect, to those of a single look",
            found["people ratio"],
            0.97 * found["people as planned"],
            1.03 * found["people as planned"],
            style=".2f",
        ),
    ]


def _ratio(rng: np.random.Generator) -> list[Line]:
    usual, level = "χ² at each look", shares.ALPHA
    right = worlds.uneven(rng, 20_000, (0.5, 0.5), (0.5, 0.5))
    three = worlds.uneven(rng, 20_000, (0.1, 0.3, 0.6), (0.1, 0.3, 0.6))
    half, two = (worlds.uneven(rng, 4_000, (0.5, 0.5), (0.5 + off, 0.5 - off)) for off in (0.01, 0.02))
    return [
        Line("sample-ratio alarm, shares are right", right[0], -math.inf, level, usual, right[1]),
        Line("the same, 10 : 30 : 60", three[0], -math.inf, level, usual, three[1]),
        Line("found, 51 : 49 instead of 50 : 50, 30,000 people", half[0], 0.45, 1, usual, half[1]),
        Line("found, 52 : 48", two[0], 0.98, 1, usual, two[1]),
    ]


def _lift(rng: np.random.Generator) -> list[Line]:
    lines = []
    for name, treated, holdout, rates in (
        ("holdout of 10 % of 10,000", 9_000, 1_000, (0.036, 0.03)),
        ("holdout of 10 % of 1,000", 900, 100, (0.036, 0.03)),
        ("equal groups of 5,000", 5_000, 5_000, (0.036, 0.03)),
    ):
        found = worlds.lifts(rng, 10_000, treated, holdout, rates)
        for what in ("conversions", "value"):
            bias, coverage = found[f"{what} bias"], found[f"{what} coverage"]
            missed = found[f"{what} missed"]
            lines.append(Line(f"extra {what} outside of the interval that is shown: {name}", missed, 0, 0.05))
            lines.append(Line(f"bias of extra {what}, standard errors: {name}", bias, -3, 3, style=".1f"))
            # Few buyers' baskets tell little of the spread, so their interval is wide rather than wrong.
            lines.append(
                Line(f"95 % interval of extra {what}: {name}", coverage, 0.935, 0.965 if holdout > 100 else 1)
            )
    return lines


def _history(rng: np.random.Generator) -> list[Line]:
    found = worlds.with_history(rng, 10_000)
    return [
        Line("variance saved by CUPED at a correlation of 0.7 (ρ² = 49 %)", found["saved"], 0.46, 0.52),
        Line("bias of CUPED's difference, standard errors", found["bias"], -3, 3, style=".1f"),
        Line("95 % interval of CUPED's difference", found["coverage"], 0.935, 0.965),
    ]


def _bandit(rng: np.random.Generator) -> list[Line]:
    found = worlds.bandits(rng, 200)
    return [
        Line(
            "conversions lost to an oracle, 4 arms, 20,000 people",
            found["bandit"],
            0,
            0.6 * found["equal"],
            "equal shares",
            found["equal"],
            style=".0f",
        ),
        Line(
            "the loss as it is shown, to the true one",
            found["estimated"] / found["bandit"],
            0.8,
            1.25,
            style=".2f",
        ),
        Line(
            "the gain on equal shares as shown, to the true one",
            found["saved estimated"] / found["saved"],
            0.8,
            1.25,
            style=".2f",
        ),
    ]


def _speed(rng: np.random.Generator) -> list[Line]:
    arms = [
        Arm(key=str(i), exposed=int(n), converted=int(n) // 30)
        for i, n in enumerate(rng.integers(1_000, 100_000, 5))
    ]
    bayes.beliefs(arms)
    began = time.process_time()
    for _ in range(50):
        bayes.beliefs(arms)
    return [Line("beliefs about 5 arms, ms", (time.process_time() - began) * 20, 0, 20, style=".1f")]
