"""What the machine must have for browser tests."""

import shutil

import pytest

_PACKAGES = {"firefox-esr": "firefox-esr", "chromium": "chromium", "Xvfb": "xvfb"}


def require(program: str) -> None:
    """Fail (never skip) when `program` is missing, naming the Debian package to install."""
    if not shutil.which(program):
        pytest.fail(f"{program} is missing: apt-get install {_PACKAGES[program]}", pytrace=False)
