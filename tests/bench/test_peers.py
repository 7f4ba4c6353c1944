"""What is installed of the peers is named by version and content, never by a download address."""

import json
from typing import Any

from bench.compare.arms import PEERS_FOLDER, peers


def test_the_lock_has_an_integrity_for_every_package_and_no_address() -> None:
    text = (PEERS_FOLDER / "package-lock.json").read_text("utf-8")
    assert "://" not in text
    packages: dict[str, dict[str, Any]] = json.loads(text)["packages"]
    assert [name for name, entry in packages.items() if name and "integrity" not in entry] == []
    wanted = json.loads((PEERS_FOLDER / "package.json").read_text("utf-8"))["dependencies"]
    assert packages[""]["dependencies"] == wanted


def test_each_peer_is_there_once_for_each_kind_of_answer() -> None:
    labels = [arm.label for arm in peers("JSON", "SSE")]
    assert len(set(labels)) == len(labels) == 6
    assert len({arm.server for arm in peers("JSON", "SSE")}) == 6
