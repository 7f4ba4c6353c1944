"""What an audit of the dependencies comes to, and the list of them."""

import json
import os
import re
import socket
import subprocess
import sys
from typing import Any, cast

import pytest
from cyclonedx.model.bom import Bom
from supply.audit import Verdict, judge
from supply.audit import main as audit
from supply.lock import read_lock
from tests.requirements import requirement
from tests.support.processes import REPOSITORY

CLEAN: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
FLAWED: dict[str, Any] = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}],
}
UNKNOWN: dict[str, Any] = {"name": "c", "skip_reason": "Dependency not found on PyPI"}
NO_ANSWER = "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n"
BAD_LOCK = "ERROR:pip_audit._cli:requirement a does not contain a hash\n"


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@requirement("supply.audit")
@pytest.mark.parametrize(
    ("status", "text", "errors", "failed", "said"),
    [
        (0, report(CLEAN), "", False, "1 packages have no known vulnerability"),
        (1, report(CLEAN, FLAWED), "", True, "PYSEC-1"),
        (0, report(FLAWED), "", True, "PYSEC-1"),
        (1, report(FLAWED, UNKNOWN), NO_ANSWER, True, "PYSEC-1"),
        (1, "", NO_ANSWER, False, "cannot be reached"),
        (1, "", "requests.exceptions.ConnectTimeout: x", False, "cannot be reached"),
        (0, report(UNKNOWN), "", False, "knows no package"),
        (0, report(CLEAN, UNKNOWN), "", False, "unknown to the service: c"),
        (1, "", BAD_LOCK, True, "broke with status 1"),
        (0, "", "", True, "broke with status 0"),
        (0, "", NO_ANSWER, True, "broke with status 0"),
        (1, report(CLEAN), "", True, "found nothing"),
        (0, report(), "", True, "no package"),
        (0, '{"dependencies": 1}', "", True, "broke"),
    ],
)
def test_a_known_vulnerability_fails_and_a_service_that_is_away_does_not(
    status: int, text: str, errors: str, failed: bool, said: str
) -> None:
    verdict = judge(status, text, errors)
    assert verdict.failed is failed
    assert said in "\n".join(verdict.lines)


@requirement("supply.audit")
def test_where_nobody_answers_that_is_one_line_and_nobody_is_asked_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def away(lock: str, seconds: float) -> Verdict:
        assert 0 < seconds <= 60
        asked.append(lock)
        return judge(1, "", NO_ANSWER)

    assert audit(("a.lock", "b.lock"), 60, away) == 0
    assert asked == ["a.lock"]
    assert capsys.readouterr().out.splitlines() == [
        "a.lock, b.lock: not audited: the vulnerability service cannot be reached"
    ]


@requirement("supply.audit")
def test_each_file_is_asked_about_and_what_is_found_is_told_of_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = {"a": (0, report(UNKNOWN)), "b": (1, report(FLAWED)), "c": (0, report(UNKNOWN))}

    def asked(lock: str, _: float) -> Verdict:
        status, text = answers[lock]
        return judge(status, text, "")

    assert audit(tuple(answers), 60, asked) == 1
    unknown, count, flaw = capsys.readouterr().out.splitlines()
    assert unknown.startswith("a, c: not audited: ")
    assert count == "b: 1 known vulnerabilities:"
    assert flaw.startswith("b: b 2: PYSEC-1")


@requirement("supply.audit")
@pytest.mark.parametrize("proxy", ["silent", "closed"])
def test_an_audit_without_a_network_ends_in_time_with_one_line(proxy: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if proxy == "closed":
            silent.close()
        done = subprocess.run(
            [sys.executable, "-c", "import sys, supply.audit as a; sys.exit(a.main(seconds=12))"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
            env={**os.environ, "HTTPS_PROXY": address, "https_proxy": address, "NO_PROXY": ""},
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    assert "requirements-build.lock: not audited: " in line


@requirement("supply.sbom")
def test_the_bill_of_materials_has_every_package_and_digest_and_no_address() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "supply.sbom"],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        timeout=50,
    ).stdout
    document = json.loads(made)
    lock = (REPOSITORY / "requirements.lock").read_text("utf-8")
    pinned = set(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE))
    assert {(each["name"], each["version"]) for each in document["components"]} == pinned
    digests = {
        file["hashes"][0]["content"]
        for each in document["components"]
        for file in each["components"]
    }
    assert digests == set(re.findall("sha256:([0-9a-f]{64})", lock))
    assert b"://" not in made
    read: Any = cast("Any", Bom).from_json(document)  # which a decorator adds
    assert len(read.components) == len(pinned)


@requirement("supply.locks")
@pytest.mark.parametrize("name", ["", "-dev", "-build"])
def test_a_lock_file_pins_by_digest_and_names_no_address(name: str) -> None:
    text = (REPOSITORY / f"requirements{name}.lock").read_text("utf-8")
    assert "://" not in text
    assert read_lock(text)


def test_what_is_not_pinned_by_digest_is_no_lock() -> None:
    with pytest.raises(ValueError, match="not a pin"):
        read_lock("a==1\n")
