"""The suite's output becomes a report; an output without a verdict does not pass for one."""

import pytest
from tests.peers.conformance_suite import ConformanceRunError, FlawedCheck, parse_report

OUTPUT = """\
Running 3 scenarios
=== SUMMARY ===
✓ ping: 2 passed, 0 failed
✗ tools-list: 1 passed, 1 failed
✗ tasks-lifecycle: 2 passed, 7 failed

Total: 5 passed, 8 failed

Not scored for 2026-07-28: 1 scenario(s) run, 1 failing. These do not affect conformance.
  ✗ tasks-lifecycle (extension)
"""


def test_a_report_keeps_apart_what_counts_and_what_does_not() -> None:
    flaw = FlawedCheck(id="tools-list", status="FAILURE", message="missing description")
    report = parse_report(OUTPUT, {"tools-list": (flaw,)})
    assert (report.passed, report.failed) == (5, 8)
    assert [scenario.name for scenario in report.scenarios] == [
        "ping",
        "tools-list",
        "tasks-lifecycle",
    ]
    assert [(scenario.name, scenario.flaws) for scenario in report.failing] == [
        ("tools-list", (flaw,))
    ]
    assert [(s.name, s.unscored) for s in report.failing_unscored] == [
        ("tasks-lifecycle", "extension")
    ]


@pytest.mark.parametrize(
    "output",
    ["error: unknown option", OUTPUT.partition("Total")[0], OUTPUT.replace("5 passed", "6 passed")],
)
def test_an_output_without_a_sound_summary_is_an_error(output: str) -> None:
    with pytest.raises(ConformanceRunError):
        parse_report(output, {})
