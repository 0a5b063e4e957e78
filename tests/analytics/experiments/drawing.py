"""Arms to try formulas on, drawn by hypothesis or given by hand."""

from hypothesis import settings
from hypothesis import strategies as st

from analytics.experiments.arms import Arm, History

FEW = settings(deadline=None, max_examples=15)


@st.composite
def some_arms(draw, least=2, most=5, biggest=20_000):
    """Arms in which some people convert, spend and unsubscribe."""
    arms = []
    for index in range(draw(st.integers(least, most))):
        exposed = draw(st.integers(1, biggest))
        converted = draw(st.integers(0, exposed))
        basket = draw(st.floats(1, 100))
        arms.append(
            Arm(
                key="ABCDE"[index],
                exposed=exposed,
                converted=converted,
                value=converted * basket,
                value_squares=converted * basket**2 * 1.5,
                unsubscribed=draw(st.integers(0, exposed)),
            )
        )
    return arms


def rate(key, exposed, converted, **more):
    """An arm without values."""
    return Arm(key=key, exposed=exposed, converted=converted, **more)


def scaled(arm, factor):
    """The same in another currency."""
    return Arm(
        key=arm.key,
        exposed=arm.exposed,
        converted=arm.converted,
        value=arm.value * factor,
        value_squares=arm.value_squares * factor**2,
    )


def with_history(key, before, value):
    """An arm of these people's figures, before and since."""
    return Arm(
        key=key,
        exposed=len(value),
        converted=len(value),
        value=value.sum(),
        value_squares=(value**2).sum(),
        history=History(total=before.sum(), squares=(before**2).sum(), with_value=(before * value).sum()),
    )
