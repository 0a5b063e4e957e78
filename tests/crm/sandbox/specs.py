"""Where the CRM vendors' API contracts lie: in `shared/specs`, a sibling folder of the checkout."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

SPECS = Path(__file__).resolve().parents[4] / "shared" / "specs"


def load(*parts: str) -> Any:
    """The JSON of one contract file; without the folder the test is skipped, or fails in CI."""
    path = SPECS.joinpath(*parts)
    if not path.is_file():
        message = f"The API contracts are missing: {path} is not there."
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return json.loads(path.read_text(encoding="utf-8"))
