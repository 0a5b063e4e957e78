"""What each figure of an experiment means, shown by pages and API documents as it stands."""

from django.utils.translation import gettext_lazy as _

DEFINITIONS = {
    "exposed": _("People for whom the arm has taken effect, each counted once."),
    "converted": _("Those of them who reached the goal within its window, each counted once."),
    "mean": _("Converted ÷ exposed; for a value, the sum of it ÷ exposed."),
    "value": _(
        "The amounts of their goal events in the account's currency. Other currencies are converted by the rate of the "
        "day, or the last one of the month before; what has no rate counts as nothing."
    ),
    "range": _("Where the true figure lies with a probability of 95 %, given what was seen."),
    "probability_best": _("The probability that this arm is truly the best of all."),
    "expected_loss": _(
        "What is given up for each person on average, if this arm is chosen and another is better."
    ),
    "difference": _(
        "The arm less the control. With a probability of 95 % the true difference lies within the limits at every "
        "time one looks, so one may look daily and stop as soon as they say what one wanted to know."
    ),
    "p_value": _("How surprising the difference would be if there were none, at whatever time one looks."),
    "state": _(
        "A winner is better than every other arm, at any time one looks, with at most 5 % of such winners being "
        "wrong; after a full week, and if it does no harm that the control does not."
    ),
    "sample_ratio": _(
        "Whether the arms got the people that are due to them. The alarm goes off by chance in at most one of a "
        "hundred experiments, however often one looks."
    ),
    "saved": _("The share of noise that what people did before the experiment has explained (CUPED)."),
    "lift": _("What the treated did on top of what the holdout did, scaled to the size of the treated."),
    "against_best": _("What would have come on top, had everybody got the best arm from the start."),
    "against_equal": _("What came on top of equal shares for all arms."),
}
