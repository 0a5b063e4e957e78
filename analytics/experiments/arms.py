"""What is known of an experiment's arm: how many people, and sums over them."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Metric(StrEnum):
    """What is compared. The last two are guard-rails: more of them is worse."""

    CONVERSION = "conversion"
    VALUE = "value"
    UNSUBSCRIBED = "unsubscribed"
    COMPLAINED = "complained"


GUARD_RAILS = (Metric.UNSUBSCRIBED, Metric.COMPLAINED)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What the same people did before they were exposed: sums over all of them, nought for who has no history.

    With x a person's figure before (say, revenue in the 28 days before the exposure): the sum of x, of x², of x over
    those who converted, and of x · value.
    """

    total: float
    squares: float
    with_converted: float = 0.0
    with_value: float = 0.0


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One arm. Counts are of people; `value` is the sum of the people's values, `value_squares` of their squares.

    A person counts once, however often they convert; the value of one person is all that they brought, and nought if
    they did not convert. Raises ValueError where more people did something than there are.
    """

    key: str
    exposed: int
    converted: int = 0
    value: float = 0.0
    value_squares: float = 0.0
    unsubscribed: int = 0
    complained: int = 0
    history: History | None = None

    def __post_init__(self) -> None:
        for name in ("converted", "unsubscribed", "complained"):
            if not 0 <= getattr(self, name) <= self.exposed:
                raise ValueError(f"{name} of arm {self.key} must lie between 0 and {self.exposed} people.")
        if self.value_squares * self.exposed < self.value**2 * (1 - 1e-9):
            raise ValueError(f"The squares of arm {self.key} do not fit the sum of its values.")

    def people_with(self, metric: Metric) -> int:
        """How many people did what the metric counts; for a value, how many converted."""
        if metric is Metric.UNSUBSCRIBED:
            return self.unsubscribed
        return self.complained if metric is Metric.COMPLAINED else self.converted


class Moments(msgspec.Struct, frozen=True):
    """The mean outcome of a person in an arm, the variance from person to person, and how many people."""

    people: int
    mean: float
    variance: float


def moments(arm: Arm, metric: Metric) -> Moments:
    """Mean and variance of one person's outcome."""
    people = arm.exposed
    if metric is Metric.VALUE:
        if people < 2:
            return Moments(people, arm.value / max(people, 1), 0.0)
        mean = arm.value / people
        return Moments(people, mean, max(0.0, (arm.value_squares - people * mean**2) / (people - 1)))
    count = arm.people_with(metric)
    return Moments(people, count / max(people, 1), rate_variance(count, people))


def rate_variance(count, people):
    """The variance of one person's yes or no, taken at (count + 1) / (people + 2). Takes arrays.

    So it is not nought after the first people: Agresti & Caffo 2000, "Simple and effective confidence intervals for
    proportions and differences of proportions" (The American Statistician 54).
    """
    rate = (count + 1) / (people + 2)
    return rate * (1 - rate)


def together(arms: Sequence[Arm], key: str = "") -> Arm:
    """One arm of all these people; its history is kept where every arm has one."""
    histories = [arm.history for arm in arms if arm.history is not None]
    history = None
    if arms and len(histories) == len(arms):
        history = History(
            total=sum(one.total for one in histories),
            squares=sum(one.squares for one in histories),
            with_converted=sum(one.with_converted for one in histories),
            with_value=sum(one.with_value for one in histories),
        )
    return Arm(
        key=key,
        exposed=sum(arm.exposed for arm in arms),
        converted=sum(arm.converted for arm in arms),
        value=sum(arm.value for arm in arms),
        value_squares=sum(arm.value_squares for arm in arms),
        unsubscribed=sum(arm.unsubscribed for arm in arms),
        complained=sum(arm.complained for arm in arms),
        history=history,
    )
