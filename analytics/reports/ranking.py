"""Which messages did best and worst, by a rule that is fair to those sent to few."""

import math
from collections.abc import Callable, Mapping

import msgspec
from django.utils.translation import gettext_lazy as _

from analytics.reports.definitions import Figures

SHOWN = 5
AVERAGE = 100  # messages with the average result that each one's own are put together with
ENOUGH = 100  # messages sent; where less was sent in all, a hundredth of it
NOTABLE = 0.05  # of the average: how much below it somebody has to be to be called worst
DEFINITIONS = {
    "revenue": _(
        "By revenue per message sent. To each message's own, 100 with the average result are added first, so that one"
        " lucky order does not win."
    ),
    "clicks": _(
        "By clicked ÷ sent. To each message's own, 100 with the average result are added first, so that one lucky click"
        " does not win."
    ),
    "leaving": _(
        "By unsubscribed and complained ÷ sent, fewer is better. To each message's own, 100 with the average result are"
        " added first, so that one angry reader does not decide."
    ),
}
LOWER_IS_BETTER = frozenset({"leaving"})


class Ranking(msgspec.Struct):
    """Numbers of messages, the best and the worst first; nobody is in both, and the worst are notably below average.

    `least` is how often one has to have been sent to be in it, `average` the result of all of them together.
    """

    best: list[int]
    worst: list[int]
    least: int
    average: float


def measure(by: str, currency: str) -> Callable[[Figures], float]:
    """What messages are compared by, as a sum over those sent.

    Raises:
        KeyError: `by` is none of DEFINITIONS.
    """
    return {
        "revenue": lambda one: float(one.revenue.get(currency, 0)),
        "clicks": lambda one: float(one.clicked),
        "leaving": lambda one: float(one.unsubscribed + one.complained),
    }[by]


def rank(found: Mapping[int, Figures], by: str, currency: str = "", shown: int = SHOWN) -> Ranking:
    """Rank messages by their figures of a period.

    A result is drawn towards that of all together by as much as AVERAGE messages weigh: the posterior mean with a
    prior of that size (Efron & Morris 1975, "Data analysis using Stein's estimator and its generalizations", JASA 70).

    Args:
        currency: of the revenue that counts.
        shown: how many of each, at most.
    """
    result = measure(by, currency)
    everything = sum(one.sent for one in found.values())
    least = min(ENOUGH, max(1, math.ceil(everything / 100)))
    average = sum(result(one) for one in found.values()) / everything if everything else 0.0
    sign = -1 if by in LOWER_IS_BETTER else 1
    scores = {
        pk: sign * ((result(one) + AVERAGE * average) / (one.sent + AVERAGE) - average)
        for pk, one in found.items()
        if one.sent >= least
    }
    tiny = 1e-9 * (average or 1)
    notable = max(NOTABLE * average, tiny)
    ranked = sorted(scores, key=lambda pk: (-scores[pk], -found[pk].sent, pk))
    return Ranking(
        best=[pk for pk in ranked if scores[pk] >= -tiny][:shown],
        worst=[pk for pk in reversed(ranked) if scores[pk] < -notable][:shown],
        least=least,
        average=average,
    )
