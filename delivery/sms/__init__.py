"""What there is to know about text messages: alphabets, parts, cheaper spelling, cost."""

from delivery.sms.estimate import Estimate, estimate, shown
from delivery.sms.parts import GSM7, UCS2, Encoding, Size, measure, split
from delivery.sms.spelling import Simplify, simplify

__all__ = [
    "GSM7",
    "UCS2",
    "Encoding",
    "Estimate",
    "Simplify",
    "Size",
    "estimate",
    "measure",
    "shown",
    "simplify",
    "split",
]
