"""Did people end up in the arms as they should? A sample-ratio alarm that may be looked at every day.

Lindon & Malek 2022, "Anytime-valid inference for multinomial count data" (NeurIPS), as sequential test of a sample
ratio mismatch. The evidence against the intended shares is the Bayes factor of a Dirichlet mixture around them; while
they hold it is a martingale that begins at 1, so that it ever reaches 1/alpha with probability at most alpha (Ville).
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import scipy

ALPHA = 0.01
CONCENTRATION = 1_000  # the alternative expects shares that are off by one or two points


class Period(msgspec.Struct, frozen=True):
    """How many people each arm got while the shares were the same. Shares need not sum to one.

    An arm whose share is nought was closed then: the few whose message was on its way are no evidence.
    """

    counts: Sequence[int]
    shares: Sequence[float]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """`alarm`: the arms' sizes can't be chance. `p_value` is always valid; `expected` is the people due to each arm."""

    alarm: bool
    p_value: float
    counts: list[int]
    expected: list[float]


def evidence(counts, shares, concentration: float = CONCENTRATION):
    """The logarithm of the Bayes factor against the shares; counts may have leading axes. Shares sum to one."""
    counts, prior = np.asarray(counts, float), concentration * np.asarray(shares, float)
    total = counts.sum(-1)
    mixture = (scipy.special.gammaln(prior + counts) - scipy.special.gammaln(prior)).sum(-1)
    mixture -= scipy.special.gammaln(concentration + total) - scipy.special.gammaln(concentration)
    return mixture - (counts * np.log(shares)).sum(-1)


def check(periods: Sequence[Period], alpha: float = ALPHA) -> Check:
    """Whether the arms' sizes fit their shares, over all periods; a bandit's every batch is a period.

    The evidence of periods multiplies. Raises ValueError for a share below nought, or where all of them are nought.
    """
    log_evidence = 0.0
    counts = np.zeros(len(periods[0].counts), int) if periods else np.zeros(0, int)
    expected = np.zeros(len(counts))
    for period in periods:
        shares, got = np.asarray(period.shares, float), np.asarray(period.counts, int)
        if (shares < 0).any() or not shares.any():
            raise ValueError("No share may be negative, nor all of them nought.")
        shares, given = shares / shares.sum(), shares > 0
        counts = counts + got
        expected = expected + np.where(given, shares * got[given].sum(), got)
        log_evidence += float(evidence(got[given], shares[given]))
    return Check(
        alarm=bool(log_evidence >= -np.log(alpha)),
        p_value=float(np.exp(-max(0.0, log_evidence))),
        counts=counts.tolist(),
        expected=expected.tolist(),
    )
