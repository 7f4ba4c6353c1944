"""What is committed for npm names packages by version and content, never by a download address."""

import json
from pathlib import Path
from typing import Any

import pytest

PEERS = Path(__file__).parent


@pytest.mark.parametrize("peer", ["conformance", "inspector", "typescript"])
def test_a_lock_file_has_an_integrity_for_every_package_and_no_address(peer: str) -> None:
    text = (PEERS / peer / "package-lock.json").read_text("utf-8")
    assert "://" not in text
    packages: dict[str, dict[str, Any]] = json.loads(text)["packages"]
    assert [name for name, entry in packages.items() if name and "integrity" not in entry] == []
