"""Coupon: give people a code, which the messages after it can name."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget

from campaigns.flows import contention
from campaigns.flows.steps.base import Outcome, Person, StepKind, go_on, wait
from crm.rules.errors import Problem
from delivery import coupons
from delivery.models import CouponPool

COUPON = "coupon"  # what the run's context calls it
AGAIN = timedelta(minutes=15)
WAIT, GO_ON = "wait", "go_on"
NONE_LEFT = "no code left"
EXAMPLE = "EXAMPLE-CODE"  # in rehearsals


class CouponConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """From which pool (by its short name); without a code people wait for one, or go on without."""

    pool: str
    if_empty: Literal["wait", "go_on"] = "wait"


class CouponForm(forms.Form):
    pool = forms.ChoiceField(
        label=gettext_lazy("Coupon pool"),
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy(
            "Messages after this step can say {{ coupon.code }} and {{ coupon.expires_at }}."
        ),
    )
    if_empty = forms.ChoiceField(
        label=gettext_lazy("When no code is left"),
        choices=[
            (WAIT, gettext_lazy("Wait until there are more")),
            (GO_ON, gettext_lazy("Go on without a code")),
        ],
        initial=WAIT,
        widget=UnfoldAdminRadioSelectWidget,
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["pool"].choices = [
            ("", _("Choose a pool")),
            *CouponPool.objects.values_list("slug", "name"),
        ]


class GiveCoupon(StepKind):
    """Gives a code of a pool; whoever has one of that pool gets the same."""

    kind, label, icon, position, pure = "coupon", gettext_lazy("Coupon code"), "redeem", 40, False
    help = gettext_lazy("Give a coupon code from a pool, for the messages after this step.")
    Config, Form = CouponConfig, CouponForm

    def run(self, step, people, now):
        return contention.with_free(people, now, lambda free: self._give(step, free, now))

    def _give(self, step: Any, people: Sequence[Person], now: datetime) -> dict[int, Outcome]:
        config = self.config(step)
        pool = CouponPool.objects.get(slug=config.pool)
        wanted = [(person.profile_id, f"flow:{person.enrollment_id}:{step.key}") for person in people]
        codes = coupons.give(pool, wanted, now)
        return _outcomes(config, pool, people, codes, now)

    def rehearse(self, step, people, now):
        config = self.config(step)
        pool = CouponPool.objects.get(slug=config.pool)
        ids = sorted({person.profile_id for person in people})
        if coupons.expired(pool, now):
            return _outcomes(config, pool, people, {}, now)
        if pool.kind == CouponPool.Kind.FIXED:
            return _outcomes(config, pool, people, dict.fromkeys(ids, pool.code), now)
        codes = coupons.held(pool, ids)
        others = [profile_id for profile_id in ids if profile_id not in codes]
        for profile_id in others[: coupons.left(pool, len(others))]:
            codes[profile_id] = EXAMPLE
        return _outcomes(config, pool, people, codes, now)

    def told(self, step, outcome, facts):
        if facts.get("code"):
            return _("They got the code %(code)s of “%(pool)s”.") % {
                "code": facts["code"],
                "pool": facts.get("pool", ""),
            }
        if facts.get("refused") or facts.get("reason") == NONE_LEFT:
            return _("No code was left for them.")
        return super().told(step, outcome, facts)

    def summary(self, step):
        name = CouponPool.objects.filter(slug=step.config.get("pool", "")).values_list("name", flat=True)
        return next(iter(name), None) or str(_("No pool chosen"))

    def config_problems(self, step, config):
        pool = CouponPool.objects.filter(slug=config.pool).first()
        if pool is None:
            return [Problem("pool", _("There is no such pool any more; choose another."))]
        if coupons.expired(pool, timezone.now()):
            return [Problem("pool", _("Its codes are not valid any more."))]
        if pool.kind == CouponPool.Kind.UNIQUE and not coupons.left(pool, 1):
            return [Problem("pool", _("It has no codes left; upload or make some."))]
        return []


def _outcomes(
    config: CouponConfig, pool: CouponPool, people: Sequence[Person], codes: dict[int, str], now: datetime
) -> dict[int, Outcome]:
    expires_at = pool.expires_at.isoformat() if pool.expires_at else None
    outcomes = {}
    for person in people:
        code = codes.get(person.profile_id)
        if code is not None:
            coupon = {"code": code, "expires_at": expires_at, "pool": pool.slug}
            outcomes[person.enrollment_id] = go_on(context={COUPON: coupon}, pool=pool.slug, code=code)
        elif config.if_empty == WAIT:
            outcomes[person.enrollment_id] = wait(now + AGAIN, pool=pool.slug, reason=NONE_LEFT)
        else:
            outcomes[person.enrollment_id] = go_on(pool=pool.slug, refused=NONE_LEFT)
    return outcomes
