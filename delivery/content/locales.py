"""Which translation a person gets."""

from collections.abc import Collection

from django.conf import settings


def chain(language: str | None) -> list[str]:
    """Return the locales to try, best first: "ar-SA" gives ["ar-sa", "ar", ""]."""
    parts = (language or "").strip().replace("_", "-").lower().split("-")
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1) if parts[0]] + [""]


def at_home(language: str) -> bool:
    """Whether a language is the installation's own, in which the text for everybody is taken to be written."""
    return chain(language)[:-1][-1:] == chain(settings.LANGUAGE_CODE)[:-1][-1:]


def best(available: Collection[str], language: str | None) -> str | None:
    """Return the one of `available` that fits `language` best; "" is for everybody; None when nothing fits."""
    by_name = {locale.replace("_", "-").lower(): locale for locale in available}
    return next((by_name[name] for name in chain(language) if name in by_name), None)
