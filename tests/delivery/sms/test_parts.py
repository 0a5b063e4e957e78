"""Alphabets, parts and cheap spelling, against their definitions."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery import sms
from delivery.sms import alphabet

CHARACTERS = sorted(alphabet.BASIC) + sorted(alphabet.EXTENSION)
GSM = st.text(alphabet=st.sampled_from(CHARACTERS), max_size=700)
ANY = st.text(
    alphabet=st.one_of(
        st.sampled_from([*CHARACTERS, "ą", "’", "😀", "م", "ç"]), st.characters(codec="utf-8")
    ),
    max_size=500,
)


def width(character: str, ucs2: bool) -> int:
    """The units of one character, counted another way than the product does."""
    return len(character.encode("utf-16-be")) // 2 if ucs2 else len(alphabet.encode(character))


def fewest(text: str) -> int:
    """The fewest parts into which `text` can be cut between characters, by trying every cut."""
    ucs2 = not set(text) <= set(CHARACTERS)
    alone, limit = (70, 67) if ucs2 else (160, 153)
    widths = [width(character, ucs2) for character in text]
    if sum(widths) <= alone:
        return int(bool(text))
    best = [0] + [len(text) + 1] * len(text)
    for end in range(1, len(text) + 1):
        used = 0
        for start in range(end - 1, -1, -1):
            used += widths[start]
            if used > limit:
                break
            best[end] = min(best[end], best[start] + 1)
    return best[-1]


class TestAlphabet:
    def test_it_has_the_characters_of_the_standard(self) -> None:
        assert (len(alphabet.BASIC), len(alphabet.EXTENSION)) == (127, 10)
        # 3GPP TS 23.038, 6.2.1 and 6.2.1.1: corners of the table.
        for character, code in {
            "@": 0,
            "Δ": 0x10,
            "Ç": 9,
            "¡": 0x40,
            "¿": 0x60,
            "à": 0x7F,
            " ": 0x20,
        }.items():
            assert alphabet.BASIC[character] == code
        assert alphabet.EXTENSION["€"] == 0x65
        assert not any(alphabet.fits(stranger) for stranger in "ç`’\táíóúąم😀\x1b")

    @settings(deadline=None, max_examples=60)
    @given(GSM)
    def test_it_gives_back_what_it_encoded(self, text: str) -> None:
        coded = alphabet.encode(text)
        assert alphabet.decode(coded) == text
        assert len(coded) == alphabet.septets(text)
        assert max(coded, default=0) < 128


class TestParts:
    @settings(deadline=None, max_examples=80)
    @given(ANY)
    def test_there_are_as_few_as_can_be(self, text: str) -> None:
        size = sms.measure(text)
        assert size.parts == fewest(text)
        assert size.units == sum(width(each, size.encoding == sms.UCS2) for each in text)

    @settings(deadline=None, max_examples=80)
    @given(ANY)
    def test_they_are_the_text_and_none_is_too_long(self, text: str) -> None:
        size, parts = sms.measure(text), sms.split(text)
        assert "".join(parts) == text
        assert len(parts) == size.parts
        limits = {sms.GSM7: (160, 153), sms.UCS2: (70, 67)}[size.encoding]
        limit = limits[size.parts > 1]
        used = [sum(width(each, size.encoding == sms.UCS2) for each in part) for part in parts]
        assert all(units <= limit for units in used)
        assert size.left == limit - (used[-1] if used else 0)
        for part in parts:
            part.encode("utf-16-be")  # no half of a surrogate pair

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("a" * 160, 1),
            ("a" * 161, 2),
            ("a" * 306, 2),
            ("a" * 307, 3),
            ("€" * 80, 1),
            ("€" * 81, 2),
            ("a" * 152 + "€" + "b" * 8, 2),  # the pair does not fit into the first part's last place
            ("a" * 152 + "€" + "b" * 151, 2),
            ("a" * 152 + "€" + "b" * 152, 3),
            ("ą" * 70, 1),
            ("ą" * 71, 2),
            ("😀" * 35, 1),
            ("😀" * 66, 2),
            ("😀" * 67, 3),
            ("", 0),
        ],
    )
    def test_known_counts(self, text: str, parts: int) -> None:
        assert sms.measure(text).parts == parts

    def test_it_names_what_makes_it_dear(self) -> None:
        assert sms.measure("Zażółć ç ż").strangers == ["ż", "ó", "ł", "ć", "ç"]


class TestSpelling:
    @settings(deadline=None, max_examples=60)
    @given(ANY, st.sampled_from(["no", "signs", "letters"]))
    def test_it_changes_a_text_only_to_save_parts(self, text: str, how: sms.Simplify) -> None:
        cheap = sms.simplify(text, how)
        assert cheap == text or (alphabet.fits(cheap) and sms.measure(cheap).parts < sms.measure(text).parts)
        assert sms.simplify(cheap, how) == cheap

    def test_signs_and_letters(self) -> None:
        long = "a" * 80
        assert sms.simplify(f"“Hi” – it’s…{long}", "signs") == f'"Hi" - it\'s...{long}'
        assert sms.simplify("“Hi” – it’s…", "signs") == "“Hi” – it’s…"  # one part either way
        assert sms.simplify(f"“Hi”{long} 😀", "signs") == f"“Hi”{long} 😀"
        assert sms.simplify(f"Zażółć gęślą jaźń, é{long}", "letters") == f"Zazolc gesla jazn, é{long}"
        assert sms.simplify(f"Zażółć{long}", "signs") == f"Zażółć{long}"
        assert (
            sms.simplify(f"e\u0301{long}", "signs") == f"é{long}"
        )  # one character of GSM-7, however it was typed


class TestEstimate:
    def test_it_counts_what_goes_out(self) -> None:
        found = sms.estimate({"text": "It’s " + "a" * 130, "opt_out": True}, "", Decimal("0.05"), "EUR")
        assert found.text.endswith("\nReply STOP to unsubscribe.")
        assert (found.encoding, found.parts, found.cost, found.guessed) == (
            sms.GSM7,
            2,
            Decimal("0.10"),
            False,
        )

    def test_a_variable_has_a_usual_length(self) -> None:
        found = sms.estimate({"text": "Hi {{ profile.first_name | default: 'you' }}{% if x %}!{% endif %}"})
        assert (found.units, found.guessed) == (3 + 12 + 1, True)
