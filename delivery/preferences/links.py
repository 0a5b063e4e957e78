"""The addresses that messages carry so that people can choose, leave and confirm."""

from django.conf import settings

from delivery import policies
from delivery.models import Delivery
from delivery.preferences import tokens

EXAMPLE = "example"  # stands for a person's token in previews and in tests to an address of one's own
NAMES = ("preferences_url", "unsubscribe_url", "confirm_url")


def of(profile_id: int, delivery_id: int | None = None) -> dict[str, str]:
    """What templates see besides the person: `preferences_url`, `unsubscribe_url` and `confirm_url`."""
    return _all(_page(tokens.make(profile_id, delivery_id)))


def carried(delivery: Delivery) -> dict[str, str]:
    """The same for a delivery. A tester who follows them, or whose mail filter does, speaks for nobody."""
    return example() if policies.for_tester(delivery) else of(delivery.profile_id, delivery.pk)


def example() -> dict[str, str]:
    """The same for a preview: addresses that lead to nobody's page."""
    return _all(_page(EXAMPLE))


def for_staff(profile_id: int) -> str:
    """A person's preference page as one of us may open it; what is changed there is recorded as ours."""
    return _page(tokens.make_for_staff(profile_id))


def _all(page: str) -> dict[str, str]:
    return dict(zip(NAMES, (page, f"{page}unsubscribe/", f"{page}confirm/"), strict=True))


def _page(token: str) -> str:
    return f"{settings.NUDGE_PUBLIC_URL.rstrip('/')}/p/{token}/"
