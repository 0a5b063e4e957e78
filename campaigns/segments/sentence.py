"""A rule read back as one sentence."""

from django.utils.translation import gettext as _

from campaigns.segments.grammar import Group, Not, Rule


def describe(rule: Rule) -> str:
    """Such as “Everybody whose country is Poland and who did …”, in the active language."""
    if isinstance(rule, Group) and not rule.rules:
        return _("Everybody.") if rule.mode == "all" else _("Nobody.")
    return _("Everybody for whom: %s.") % _clause(rule, outermost=True)


def clause(rule: Rule) -> str:
    """A part of a rule on its own, such as “country is Poland and did …”."""
    return _clause(rule, outermost=True)


def heading(rule: Group | Not) -> str:
    """What a group asks of the rules below it."""
    if isinstance(rule, Not):
        return _("This must not hold")
    if rule.mode == "all":
        return _("All of these must hold") if rule.rules else _("Holds for everybody")
    return _("At least one of these must hold") if rule.rules else _("Holds for nobody")


def _clause(rule: Rule, outermost: bool = False) -> str:
    if isinstance(rule, Not):
        return _("not (%s)") % _clause(rule.rule, outermost=True)
    if not isinstance(rule, Group):
        return rule.describe()
    if not rule.rules:
        return _("always") if rule.mode == "all" else _("never")
    clauses = [_clause(item) for item in rule.rules]
    if len(clauses) == 1:
        return clauses[0]
    text = (_(" and ") if rule.mode == "all" else _(" or ")).join(clauses)
    return text if outermost else f"({text})"
