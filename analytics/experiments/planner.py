"""Before the start: how many people an experiment needs, how many days that takes, and what looking daily costs.

Once for a test that is looked at a single time (Fleiss, Levin & Paik 2003, "Statistical methods for rates and
proportions", section 4.2, without the continuity correction), and once for the always-valid one. The power of the
latter is computed look by look as Armitage, McPherson & Rowe 1969, "Repeated significance tests on accumulating data"
(JRSS A 132) do. It depends on the size of the effect alone, so its price is one factor, whatever is measured.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np
import scipy
from django.utils.translation import gettext as _

from analytics.experiments import sequences

LOOKS = 28  # at which the price is computed; who looks more often needs a little less
NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)
FEWEST_CONVERSIONS = 10  # in each arm, before a normal approximation is worth anything
FEWEST_DAYS = 7  # each weekday once: people differ by weekday


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment needs.

    `people` of each arm and `days` are for the always-valid test, at most; with the effect that was planned for, it
    takes `typical` people of all arms on average, and `typical_days`. `people_once` and `days_once` are for a test
    that is looked at once, at the end; `price` is how many times more people looking daily may take. `fewest` people
    of each arm before anything is said. `tuned_for` is to be handed to the comparisons. Days are None without a pace.
    """

    people: list[int]
    people_once: list[int]
    days: int | None
    days_once: int | None
    typical: int
    typical_days: int | None
    price: float
    fewest: int
    tuned_for: float

    @property
    def total(self) -> int:
        """The people of all arms."""
        return sum(self.people)


def plan_rate(
    rate: float,
    smallest: float,
    *,
    shares: Sequence[float] = (1, 1),
    power: float = 0.8,
    alpha: float = 0.05,
    daily: float = 0.0,
    window: float = 0.0,
) -> Plan:
    """A plan for a conversion rate.

    `rate` is what is usual, `smallest` the smallest rise worth knowing in the same unit (0.005 is half a point);
    `shares` of the people for each arm, the first being the control; `daily` people come in, and each has `window`
    days to convert. Raises ValueError where the risen rate isn't one, OverflowError where it takes more than a float.
    """
    risen = rate + smallest
    if not 0 < rate < 1 or not 0 < risen < 1 or smallest == 0:
        raise ValueError(_("The rate, and the rate with its rise, must lie between 0 and 1."))
    own, new = rate * (1 - rate), risen * (1 - risen)
    return _plan(
        own, new, abs(smallest), shares, power, alpha, daily, window, FEWEST_CONVERSIONS / min(rate, risen)
    )


def plan_value(
    deviation: float,
    smallest: float,
    *,
    rate: float,
    shares: Sequence[float] = (1, 1),
    power: float = 0.8,
    alpha: float = 0.05,
    daily: float = 0.0,
    window: float = 0.0,
) -> Plan:
    """A plan for a value per person with the standard `deviation` from person to person; `rate` of them convert.

    Raises as `plan_rate` does.
    """
    if deviation <= 0 or smallest == 0 or not 0 < rate <= 1:
        raise ValueError(_("The deviation, the rate and the smallest difference must be positive."))
    return _plan(
        deviation**2,
        deviation**2,
        abs(smallest),
        shares,
        power,
        alpha,
        daily,
        window,
        FEWEST_CONVERSIONS / rate,
    )


def _plan(
    own: float,
    new: float,
    smallest: float,
    shares: Sequence[float],
    power: float,
    alpha: float,
    daily: float,
    window: float,
    fewest: float,
) -> Plan:
    if len(shares) < 2 or min(shares) <= 0:
        raise ValueError("There must be two arms at least, each with a positive share.")
    if not 0.05 <= power <= 0.99 or not 0 < alpha < 0.5:
        raise ValueError("The power must lie between 5 % and 99 %, alpha between 0 and 50 %.")
    parts = [share / sum(shares) for share in shares]
    level = alpha / (len(shares) - 1)
    rarest = min(parts[1:])
    deviations = float(scipy.special.ndtri(1 - level / 2) + scipy.special.ndtri(power))
    if smallest**2 == 0:
        raise OverflowError("The difference is too small.")
    once = deviations**2 * (own / parts[0] + new / rarest) / smallest**2
    drift, typical = _sequential(level, power)
    price = (drift / deviations) ** 2
    most = once * price
    return Plan(
        people=[math.ceil(most * part) for part in parts],
        people_once=[math.ceil(once * part) for part in parts],
        days=_days(most, daily, window),
        days_once=_days(once, daily, window),
        typical=math.ceil(most * typical),
        typical_days=_days(most * typical, daily, window),
        price=price,
        fewest=math.ceil(fewest),
        tuned_for=float(sequences.pair_size(most * parts[0], most * rarest)),
    )


def _days(people: float, daily: float, window: float) -> int | None:
    return max(FEWEST_DAYS, math.ceil(people / daily + window)) if daily > 0 else None


@lru_cache(maxsize=64)
def _sequential(alpha: float, power: float) -> tuple[float, float]:
    """Of a sequence tuned for its end: the effect, in standard errors at the end, that is found with `power`.

    And the mean share of the people it takes, with that effect.
    """
    low, high = 0.0, 8.0
    for _step in range(16):
        middle = (low + high) / 2
        if sum(crossings(middle, alpha)) < power:
            low = middle
        else:
            high = middle
    found = crossings(high, alpha)
    times = np.arange(1, LOOKS + 1) / LOOKS
    return high, float(found @ times + (1 - found.sum()))


def crossings(drift: float, alpha: float, looks: int = LOOKS) -> np.ndarray:
    """The probability to leave the sequence at each of the looks, for an effect of so many standard errors at the end.

    The estimate's path is a Brownian motion with that drift over [0, 1]; its density among the paths that are still
    inside is carried on from look to look. The nodes are Gauss-Legendre's.
    """
    times = np.arange(1, looks + 1) / looks
    bounds = sequences.widening(times, alpha, 1.0) * np.sqrt(times)
    step = 1 / looks
    places, mass = np.zeros(1), np.ones(1)
    left = np.empty(looks)
    for look, bound in enumerate(bounds):
        ahead = places + drift * step
        beyond = scipy.special.ndtr((ahead - bound) / np.sqrt(step)) + scipy.special.ndtr(
            (-bound - ahead) / np.sqrt(step)
        )
        left[look] = mass @ beyond
        targets = NODES * bound
        density = np.exp(-((targets[:, None] - ahead) ** 2) / (2 * step)) / np.sqrt(2 * np.pi * step)
        places, mass = targets, (density @ mass) * WEIGHTS * bound
    return left
