"""Colours that can be read (WCAG 2.2, "relative luminance" and "contrast ratio")."""

import re

WHITE, BLACK, DARK = "#ffffff", "#000000", "#17181c"
ENOUGH = 4.5  # success criterion 1.4.3, for text
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def is_colour(text: str) -> bool:
    """Whether it is six hexadecimal digits behind a #."""
    return _COLOUR.fullmatch(text) is not None


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def ink(background: str) -> str:
    """Black or white, whichever reads better on `background`."""
    return max(WHITE, BLACK, key=lambda colour: contrast(colour, background))


def on_dark(colour: str) -> str:
    """`colour`, made lighter until it can be read on a dark page."""
    parts = _parts(colour)
    for step in range(21):
        lighter = "#" + "".join(f"{round(part + (255 - part) * step / 20):02x}" for part in parts)
        if contrast(lighter, DARK) >= ENOUGH:
            return lighter
    return WHITE


def _luminance(colour: str) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in _parts(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _parts(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))
