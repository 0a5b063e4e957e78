"""An experiment's result as a marketer would say it."""

import math
from collections.abc import Mapping, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from analytics import written
from analytics.experiments.arms import Arm, Metric, moments
from analytics.experiments.bandit import Regret
from analytics.experiments.lift import Figure, Lift
from analytics.experiments.planner import Plan
from analytics.experiments.results import GuardRail, Result, State
from analytics.experiments.sequences import Verdict

LONG = 365  # days; longer than that nobody waits
TEDIOUS = 90  # days of a plan, after which there is something better to do
DAYS_OF_A_MONTH = 365.25 / 12
CROWDS = (100, 1_000, 10_000, 100_000, 1_000_000)


def sentence(result: Result, names: Mapping[str, str] | None = None, currency: str = "") -> str:
    """What came of it in a few sentences; `names` of the arms' keys. Plain text, to be escaped by the page."""
    names = names or {}
    said = [] if result.state is State.UNEVEN else [_figures(result, names, currency)]
    said += [_state(result, names, currency), *(_rail(rail, result, names) for rail in result.harmed)]
    said += [
        _("%(arm)s gets nobody any more, because it drives people away.") % {"arm": _name(key, names)}
        for key in result.rules.closed
    ]
    return " ".join(part for part in said if part)


def audience_sentence(
    arms: Sequence[Arm],
    addressed: Sequence[Arm],
    metric: Metric,
    names: Mapping[str, str] | None = None,
    currency: str = "",
) -> str:
    """Of arms that address different people: how many each addresses, and what came of those and of all of its people.

    Args:
        arms: all people who were divided, by arm.
        addressed: those of them whom their arm addresses, in the same order.
    """
    said = []
    for arm, own in zip(arms, addressed, strict=True):
        if not arm.exposed:
            continue
        part = {
            "arm": _name(arm.key, names or {}),
            "addressed": written.percent(own.exposed / arm.exposed, 0),
            "all": _figure(arm, metric, currency),
            "own": _figure(own, metric, currency),
        }
        if metric is Metric.VALUE:
            said.append(
                _(
                    "%(arm)s addresses %(addressed)s of its people: %(own)s per person addressed, "
                    "%(all)s per person of all."
                )
                % part
            )
        else:
            said.append(
                _(
                    "%(arm)s addresses %(addressed)s of its people: %(own)s of those addressed reach the goal, "
                    "%(all)s of all."
                )
                % part
            )
    return " ".join(said)


def lift_sentence(lift: Lift | None, currency: str = "") -> str:
    """What the messages brought that would not have come without them."""
    if lift is None:
        return _("There is nobody yet to compare with: the holdout is empty.")
    said = [_extra(lift.conversions, lift.certain)]
    if lift.value.estimate and lift.certain_value:
        said.append(
            _("That is %(value)s of value, between %(low)s and %(high)s.")
            % {
                "value": _amount(lift.value.estimate, currency),
                "low": _amount(lift.value.low, currency),
                "high": _amount(lift.value.high, currency),
            }
        )
    return " ".join(said)


def plan_sentence(plan: Plan) -> str:
    """What an experiment will take."""
    said = ngettext(
        "You need %(people)s person in all.", "You need %(people)s people in all.", plan.total
    ) % {"people": written.count(plan.total)}
    if plan.days is None or plan.typical_days is None:
        return said
    most = ngettext(
        "At today's pace that is at most %(days)s day,",
        "At today's pace that is at most %(days)s days,",
        plan.days,
    ) % {"days": written.count(plan.days)}
    usual = ngettext(
        "but usually you know after %(days)s day, if the difference is there.",
        "but usually you know after %(days)s days, if the difference is there.",
        plan.typical_days,
    ) % {"days": written.count(plan.typical_days)}
    once = ngettext(
        "Looked at only once, at the end, it would take %(days)s day.",
        "Looked at only once, at the end, it would take %(days)s days.",
        plan.days_once or 0,
    ) % {"days": written.count(plan.days_once or 0)}
    return f"{said} {most} {usual} {once}"


def plan_advice(plan: Plan) -> str:
    """What to do about an experiment that would take very long; empty where it does not."""
    if plan.days is None or plan.days <= TEDIOUS:
        return ""
    months = round(plan.days / DAYS_OF_A_MONTH)
    return ngettext(
        "At this pace it takes %(months)s month: test a larger difference, more people or a metric nearer to the "
        "message.",
        "At this pace it takes %(months)s months: test a larger difference, more people or a metric nearer to the "
        "message.",
        months,
    ) % {"months": written.count(months)}


def regret_sentence(regret: Regret, metric: Metric, currency: str = "") -> str:
    """What learning cost and brought, said of a bandit."""
    lost, gained = (
        _amount(round(amount), currency) if metric is Metric.VALUE else written.count(round(amount))
        for amount in (regret.against_best, abs(regret.against_equal))
    )
    unit = "" if metric is Metric.VALUE else _("conversions")
    words = {"lost": f"{lost} {unit}".strip(), "gained": f"{gained} {unit}".strip()}
    if regret.against_equal >= 0:
        return (
            _("Trying things out cost about %(lost)s, and %(gained)s more came than with equal shares.")
            % words
        )
    return (
        _("Trying things out cost about %(lost)s, and %(gained)s fewer came than with equal shares.") % words
    )


def _figures(result: Result, names: Mapping[str, str], currency: str) -> str:
    arms = [arm for arm in result.arms if arm.exposed]
    if len(arms) < 2:
        return ""
    metric, control = result.rules.metric, result.arms[0]
    arm = _shown(result)
    words = {
        "arm": _name(arm.key, names),
        "figure": _figure(arm, metric, currency),
        "other": _name(control.key, names),
        "other_figure": _figure(control, metric, currency),
    }
    if arm is control:
        other = max(result.arms[1:], key=lambda one: moments(one, metric).mean)
        words |= {"other": _name(other.key, names), "other_figure": _figure(other, metric, currency)}
    if metric is Metric.VALUE:
        return _("%(arm)s brings %(figure)s per person, %(other)s %(other_figure)s.") % words
    return _("%(arm)s brings %(figure)s of people to the goal, %(other)s %(other_figure)s.") % words


def _state(result: Result, names: Mapping[str, str], currency: str) -> str:
    state = result.state
    if state is State.UNEVEN:
        return _uneven(result, names)
    if state is State.WINNER:
        return f"{_winner(result, names, currency)} {_('You may stop.')}"
    if state is State.HARMFUL:
        return _("%(arm)s would be the choice, but it does harm: decide yourself.") % {
            "arm": _name(result.choice or "", names)
        }
    if state is State.SAME:
        return _(
            "There is no difference worth knowing: less than %(smallest)s. You may stop and keep %(arm)s."
        ) % {
            "smallest": _gap(result.rules.smallest or 0.0, result.rules.metric, currency),
            "arm": _name(result.choice or "", names),
        }
    return _wait(result, names)


def _winner(result: Result, names: Mapping[str, str], currency: str) -> str:
    """Beside the control; where the control itself has won, beside the best of the others."""
    choice, control = result.choice or "", result.arms[0].key
    rivals = [arm for arm in result.arms if arm.key != choice]
    rival = (
        max(rivals, key=lambda one: moments(one, result.rules.metric).mean).key
        if choice == control
        else control
    )
    found = result.pairs[choice, rival]
    words = {"arm": _name(choice, names), "other": _name(rival, names)}
    if result.rules.metric is Metric.VALUE:
        words |= {"low": _amount(found.low, currency), "high": _amount(found.high, currency)}
        if len(rivals) == 1:
            return _("%(arm)s is better: between %(low)s and %(high)s more per person.") % words
        return _("%(arm)s is the best: between %(low)s and %(high)s more per person than %(other)s.") % words
    crowd = _crowd(found.high)
    words |= {
        "low": _rounded(found.low * crowd),
        "high": _rounded(found.high * crowd),
        "crowd": written.count(crowd),
    }
    if len(rivals) == 1:
        return _("%(arm)s is better: between %(low)s and %(high)s more in %(crowd)s people.") % words
    return (
        _("%(arm)s is the best: between %(low)s and %(high)s more in %(crowd)s people than %(other)s.")
        % words
    )


def _wait(result: Result, names: Mapping[str, str]) -> str:
    left = [arm.key for arm in result.arms if arm.key not in result.rules.closed]
    if len(left) == 1:
        return _("Only %(arm)s is left.") % {"arm": _name(left[0], names)}
    said = _("Nothing can be said yet.")
    beaten = [
        found.arm
        for found in result.comparisons
        if found.verdict is Verdict.WORSE and result.state is State.OPEN
    ]
    if beaten:
        said = _("The winner is still open, but %(arms)s is behind.") % {
            "arms": ", ".join(_name(key, names) for key in beaten)
        }
    days = result.days_left
    if days is None:
        return said
    if days > LONG:
        never = _("At today's pace it would take more than a year: the difference is too small to see.")
        return f"{said} {never}"
    days = max(1, math.ceil(days))
    return f"{said} " + ngettext(
        "About %(days)d day more at today's pace.", "About %(days)d days more at today's pace.", days
    ) % {"days": days}


def _uneven(result: Result, names: Mapping[str, str]) -> str:
    off = [abs(got - due) for got, due in zip(result.check.counts, result.check.expected, strict=True)]
    worst = off.index(max(off))
    return _(
        "Do not trust these figures: %(arm)s got %(got)s people where %(due)s were due, which can't be chance. "
        "Find out what keeps people out of an arm, and begin again."
    ) % {
        "arm": _name(result.arms[worst].key, names),
        "got": written.count(result.check.counts[worst]),
        "due": written.count(round(result.check.expected[worst])),
    }


def _rail(rail: GuardRail, result: Result, names: Mapping[str, str]) -> str:
    words = {
        "arm": _name(rail.arm, names),
        "rate": written.percent(rail.rate, 2),
        "other": _name(result.arms[0].key, names),
        "other_rate": written.percent(rail.control_rate, 2),
    }
    if rail.metric is Metric.COMPLAINED:
        return _("More people complain about %(arm)s: %(rate)s, and %(other_rate)s about %(other)s.") % words
    return _("More people unsubscribe with %(arm)s: %(rate)s, and %(other_rate)s with %(other)s.") % words


def _extra(figure: Figure, certain: bool) -> str:
    words = {
        "count": written.count(round(abs(figure.estimate))),
        "low": written.count(round(figure.low)),
        "high": written.count(round(figure.high)),
    }
    if not certain:
        return _(
            "It can't be said yet whether the messages bring more: about %(count)s conversions (%(low)s to %(high)s)."
        ) % (words | {"count": written.count(round(figure.estimate))})
    if figure.estimate >= 0:
        return (
            _(
                "Without the messages there would have been about %(count)s fewer conversions (%(low)s to %(high)s)."
            )
            % words
        )
    return _(
        "Without the messages there would have been about %(count)s more conversions (%(low)s to %(high)s)."
    ) % (words | {"low": written.count(round(-figure.high)), "high": written.count(round(-figure.low))})


def _shown(result: Result) -> Arm:
    """The arm that is spoken of: the choice, or the one that looks best beside the control."""
    if result.choice:
        return result.arm(result.choice)
    others = [arm for arm in result.arms[1:] if arm.key not in result.rules.closed] or result.arms[1:]
    return max(others, key=lambda one: moments(one, result.rules.metric).mean)


def _name(key: str, names: Mapping[str, str]) -> str:
    """In quotes, and between marks (FSI, PDI) that keep its direction from that of the words around it."""
    return _("“%s”") % f"\u2068{names.get(key, key)}\u2069"


def _figure(arm: Arm, metric: Metric, currency: str) -> str:
    mean = moments(arm, metric).mean
    return (
        _amount(mean, currency) if metric is Metric.VALUE else written.percent(mean, 1 if mean >= 0.01 else 2)
    )


def _amount(value: float, currency: str) -> str:
    return written.money(value, currency)


def _gap(smallest: float, metric: Metric, currency: str) -> str:
    if metric is Metric.VALUE:
        return _("%(amount)s per person") % {"amount": _amount(smallest, currency)}
    crowd = _crowd(smallest)
    return _("%(number)s in %(crowd)s people") % {
        "number": _rounded(smallest * crowd),
        "crowd": written.count(crowd),
    }


def _crowd(rate: float) -> int:
    """So many people that it is at least one half of a person, for people do not think in small fractions."""
    return next((crowd for crowd in CROWDS if abs(rate) * crowd >= 0.5), CROWDS[-1])


def _rounded(number: float) -> str:
    """To two significant digits, one decimal at most unless it is less than one tenth."""
    if not number:
        return written.count(0)
    digits = max(0, 1 - math.floor(math.log10(abs(number))))
    return written.count(round(number, min(2, digits) if abs(number) < 0.1 else min(1, digits)))
