"""Runs the official MCP conformance suite against an address and reads its verdict.

The suite prints a summary, which is what counts here, and writes the checks of every scenario into
a folder, from which the messages of failed checks come.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.peers.node import install, node_binary

Suite = Literal["stable", "next"]
"""`stable`: 0.1.16, the 2025 revisions. `next`: 0.2.0-alpha.12, 2026-07-28 as well."""

PACKAGE = Path(__file__).parent / "conformance"

# The suite's own summary: `printServerSummary` and `printUnscored` of its sources.
_SCENARIO = re.compile(r"^[✓✗] (?P<name>\S+): (?P<passed>\d+) passed, (?P<failed>\d+) failed$")
_TOTAL = re.compile(r"^Total: (?P<passed>\d+) passed, (?P<failed>\d+) failed$")
_UNSCORED = re.compile(r"^  [✓✗] (?P<name>\S+) \((?P<reason>[^)]*)\)$")
_RESULT_FOLDER = re.compile(r"^server-(?P<name>.+)-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z$")


class ConformanceRunError(RuntimeError):
    """The suite did not come to a verdict; the message carries the end of its output."""


@dataclass(frozen=True, slots=True)
class FlawedCheck:
    """A check that did not succeed.

    Attributes:
        id: The suite's name of the check.
        status: FAILURE breaks a MUST and counts; WARNING breaks a SHOULD and does not.
        message: What the suite saw.
    """

    id: str
    status: Literal["FAILURE", "WARNING"]
    message: str


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One scenario's verdict.

    Attributes:
        name: The suite's name of the scenario.
        passed: Checks that succeeded.
        failed: Checks that failed.
        unscored: Why the requirement set does not count this scenario, or None where it counts.
        flaws: The checks that failed or warned.
    """

    name: str
    passed: int
    failed: int
    unscored: str | None
    flaws: tuple[FlawedCheck, ...]


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """The verdict of one run.

    Attributes:
        passed: Checks that succeeded, of all scenarios.
        failed: Checks that failed, of all scenarios, those that do not count included.
        scenarios: Every scenario that ran, in the suite's order.
        output: What the suite printed, for the message of a failed test.
    """

    passed: int
    failed: int
    scenarios: tuple[ScenarioResult, ...]
    output: str

    @property
    def failing(self) -> tuple[ScenarioResult, ...]:
        """The scenarios that failed and count."""
        return tuple(s for s in self.scenarios if s.failed and s.unscored is None)

    @property
    def failing_unscored(self) -> tuple[ScenarioResult, ...]:
        """The scenarios that failed and do not count for the requirement set."""
        return tuple(s for s in self.scenarios if s.failed and s.unscored is not None)


def run_conformance(
    which: Suite,
    url: str,
    requirements: str | None = None,
    *,
    timeout_seconds: float = 180.0,
) -> ConformanceReport:
    """Run a whole suite. Blocks; an event loop calls it in a thread.

    Args:
        which: The release of the suite.
        url: The MCP endpoint of the server under test.
        requirements: A revision whose frozen requirement set runs, `2025-11-25` or `2026-07-28`;
            `next` only. None runs every scenario of the release.
        timeout_seconds: For the run as a whole, without the installation that a first run needs.

    Raises:
        ConformanceRunError: The suite did not end in time or printed no verdict.
        NodeInstallError: The suite is not installed and npm could not install it.
    """
    program = install(PACKAGE) / "node_modules" / f"conformance-{which}" / "dist" / "index.js"
    scope = ["--requirements", requirements] if requirements else ["--suite", "all"]
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        try:
            done = subprocess.run(
                [node_binary(), program, "server", "--url", url, "--output-dir", folder, *scope],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConformanceRunError(f"no verdict within {timeout_seconds:g} s") from error
        return parse_report(done.stdout + done.stderr, _flaws_by_scenario(Path(folder)))


def parse_report(output: str, flaws: dict[str, tuple[FlawedCheck, ...]]) -> ConformanceReport:
    """Read the summary at the end of the suite's output.

    Args:
        output: Everything that the suite printed.
        flaws: The checks that did not succeed, by scenario.

    Raises:
        ConformanceRunError: There is no summary, or its scenarios do not add up to its total.
    """
    lines = output.partition("=== SUMMARY ===")[2].splitlines()
    total = next((match for line in lines if (match := _TOTAL.match(line))), None)
    if total is None:
        raise ConformanceRunError(f"the suite printed no verdict: …{output[-2000:]}")
    unscored = {
        match["name"]: match["reason"] for line in lines if (match := _UNSCORED.match(line))
    }
    scenarios = tuple(
        ScenarioResult(
            name=match["name"],
            passed=int(match["passed"]),
            failed=int(match["failed"]),
            unscored=unscored.get(match["name"]),
            flaws=flaws.get(match["name"], ()),
        )
        for line in lines
        if (match := _SCENARIO.match(line))
    )
    passed, failed = int(total["passed"]), int(total["failed"])
    if (passed, failed) != (sum(s.passed for s in scenarios), sum(s.failed for s in scenarios)):
        raise ConformanceRunError(f"the summary does not add up: …{output[-2000:]}")
    return ConformanceReport(passed=passed, failed=failed, scenarios=scenarios, output=output)


def _flaws_by_scenario(folder: Path) -> dict[str, tuple[FlawedCheck, ...]]:
    flaws: dict[str, tuple[FlawedCheck, ...]] = {}
    for result in folder.iterdir():
        match = _RESULT_FOLDER.match(result.name)
        checks = result / "checks.json"
        if match and checks.is_file():
            flaws[match["name"]] = tuple(_flaws(json.loads(checks.read_text("utf-8"))))
    return flaws


def _flaws(checks: list[dict[str, Any]]) -> Iterator[FlawedCheck]:
    for check in checks:
        status = check["status"]
        if status in {"FAILURE", "WARNING"}:
            message = check.get("errorMessage") or check.get("description") or ""
            yield FlawedCheck(id=check["id"], status=status, message=message)
