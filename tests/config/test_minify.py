"""Shortening the SDK keeps what it does; the browser tests of tests/sdk run the result."""

import re

import pytest

from config import minify
from tests.sdk.stub import FOLDER


def test_names_are_shortened_and_text_and_properties_are_not() -> None:
    code = minify.script(
        """
        // A comment with a 'quote'.
        const message = 'message of total'; let total = 0;
        function adding(more) { total += more; return {total, added: total, text: message}; }
        const found = /total=(message)/.exec(document.title);
        const thing = {name: 1}; window.out = [adding(2), found, thing.name];
        """
    )
    assert "comment" not in code
    assert "'message of total'" in code
    assert "/total=(message)/" in code
    assert "document.title" in code
    assert "adding" not in code
    assert "thing" not in code
    assert "return{total,added:total,text:" in code, "a shorthand property keeps its name everywhere"


def test_new_names_are_not_taken() -> None:
    code = minify.script("const first = 1, a = 2; const second = 3; window.out = first + a + second + b;")
    names = re.findall(r"(?:const |,)(\w+)=", code)
    assert len(names) == len(set(names)) == 3
    assert "b" not in names


def test_what_it_can_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="Template"):
        minify.script("const name = 1; window.out = `name ${name}`;")


@pytest.mark.parametrize("name", ["sdk.js", "sw.js"])
def test_no_name_of_the_sdk_hides_one_of_the_browser(name: str) -> None:
    """A name that is declared somewhere and used as a browser's global elsewhere would be renamed in both places."""
    declared = set(minify._DECLARED.findall((FOLDER / name).read_text()))
    browsers = {
        "crypto",
        "document",
        "fetch",
        "history",
        "location",
        "navigator",
        "self",
        "window",
        "console",
    }
    assert declared.isdisjoint(browsers)
