"""`make audit`: asks pip-audit about the lock files, and says what its answer means.

A known vulnerability fails. A service that cannot be reached, or knows none of the packages, as a
mirror of an index may, is told in a line and fails nothing: the machine is to blame, not the
packages. Anything else that keeps the answer away fails: it must not pass for a clean one.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

_LOCKS: Final = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
_TIMEOUT_SECONDS: Final = 240
"""How long all of it may take, so that no build hangs where a network swallows what is sent."""

_AWAY: Final = re.compile(
    r"Could not connect to \S+ vulnerability feed|is not redirecting properly"
    r"|requests\.exceptions\.(?:\w*ConnectionError|\w*Timeout|SSLError|ProxyError)"
    r"|urllib3\.exceptions\.(?:MaxRetryError|NewConnectionError|NameResolutionError)"
    r"|_service\.interface\.(?:ServiceError|ConnectionError)"
)
"""What pip-audit writes where its service does not answer, or not as it should."""


class Verdict(NamedTuple):
    """What an audit comes to.

    Attributes:
        failed: Whether it is to fail.
        lines: What to say.
        away: Whether nobody answered, so that asking on would be in vain.
    """

    failed: bool
    lines: tuple[str, ...]
    away: bool = False


def judge(status: int, report: str, errors: str) -> Verdict:
    """Say what an answer of pip-audit means. Pure.

    Args:
        status: Its exit status.
        report: Its standard output: JSON, if it came that far.
        errors: Its standard error.
    """
    packages = _packages(report)
    if packages is None:
        last = errors.strip().splitlines()[-1:] or ["it said nothing"]
        if status and _AWAY.search(errors):
            words = "not audited: the vulnerability service cannot be reached"
            return Verdict(False, (words,), away=True)
        return Verdict(True, (f"pip-audit broke with status {status}: {last[0][:200]}",))
    found = [
        f"{each['name']} {each['version']}: {flaw['id']}, mended in "
        f"{', '.join(flaw.get('fix_versions') or ()) or 'no version yet'}"
        for each in packages
        for flaw in each.get("vulns") or ()
    ]
    if found:
        return Verdict(True, (f"{len(found)} known vulnerabilities:", *found))
    if status:
        return Verdict(True, (f"pip-audit ended with status {status} and found nothing",))
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    if not packages:
        return Verdict(True, ("pip-audit looked at no package",))
    if len(unknown) == len(packages):
        return Verdict(
            False, ("not audited: what answers for the vulnerability service knows no package",)
        )
    lines = [f"{len(packages) - len(unknown)} packages have no known vulnerability"]
    if unknown:
        lines.append(f"not audited, unknown to the service: {', '.join(unknown)}")
    return Verdict(False, tuple(lines))


def _packages(report: str) -> list[dict[str, Any]] | None:
    try:
        packages: object = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return cast("list[dict[str, Any]]", packages) if isinstance(packages, list) else None


def ask(lock: str, seconds: float) -> Verdict:
    """Ask about one lock file, whose packages are neither installed nor resolved for it.

    Args:
        lock: The file.
        seconds: How long it may take; then nobody answered.
    """
    command = [
        *(str(Path(sys.executable).with_name("pip-audit")), "--progress-spinner", "off"),
        *("--disable-pip", "--require-hashes", "--format", "json", "--timeout", "15"),
        *("--requirement", lock),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        words = "not audited: the vulnerability service is too slow"
        return Verdict(False, (words,), away=True)
    return judge(done.returncode, done.stdout, done.stderr)


def main(
    locks: Sequence[str] = _LOCKS,
    seconds: float = _TIMEOUT_SECONDS,
    ask: Callable[[str, float], Verdict] = ask,
) -> int:
    """Audit the lock files; where nobody answers, that is one line. Returns the exit status.

    Args:
        locks: The files.
        seconds: How long all of it may take.
        ask: Asks about one of them.
    """
    failed = False
    said: dict[str, list[str]] = {}  # what is true of several files is one line
    ends = time.monotonic() + seconds
    for number, lock in enumerate(locks):
        verdict = ask(lock, max(ends - time.monotonic(), 1.0))
        failed = failed or verdict.failed
        for line in verdict.lines:
            said.setdefault(line, []).extend(locks[number:] if verdict.away else [lock])
        if verdict.away:
            break
    for line, about in said.items():
        print(f"{', '.join(about)}: {line}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
