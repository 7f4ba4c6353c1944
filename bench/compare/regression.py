"""Whether Linkspan became slower: this checkout against an earlier version, taking turns.

Above lies `__main__`; below lie `course` and `samples`. Both versions run at the same time, on the
same machine and with the same load generator, so ratios mean something where figures do not. The
earlier version is unpacked into a folder that is gone afterwards, and has the same packages if its
lock is the same, else those that its lock names.
"""

import io
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.processes import REPOSITORY

from bench.compare.asking import echoing
from bench.compare.benches import CREATIONS, FEW_TOOLS, at
from bench.compare.course import Load, steady
from bench.compare.deployments import Setup, linkspan
from bench.compare.plan import Plan
from bench.compare.samples import Arms, Pick, Verdict, ratios, verdict
from bench.figures import Section, number, spread

TOLERANCE: Final = 0.1
"""By what share a median may be worse."""

_LOCKS: Final = ("requirements-build.lock", "requirements.lock")
_INSTALL_SECONDS: Final = 600.0

_NOW: Final = "now"
_BEFORE: Final = "before"

_CALL_1: Final = at("tools/call", 1)
_LOADS: Final = [
    Load(_CALL_1, 1, echoing),
    Load(at("tools/call", 32), 32, echoing),
    CREATIONS[0],
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of both versions.

    Attributes:
        what: What it is of.
        taken: What it costs now, as ratios to before, one a round; more is worse.
        said: What that means.
    """

    what: str
    taken: list[float]
    said: Verdict


def default_revision() -> str:
    """Return the commit before what is in the checkout: its last one, or the one before that."""
    return "HEAD" if _git("status", "--porcelain").strip() else "HEAD~1"


def unpack(revision: str, folder: Path) -> Path:
    """Unpack a revision into a new folder, and return that.

    Raises:
        subprocess.CalledProcessError: There is no such revision.
    """
    tree = folder / "before"
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", revision))) as archive:
        archive.extractall(tree, filter="data")
    return tree


def interpreter_for(tree: Path, folder: Path) -> str:
    """Return an interpreter that has what a version needs.

    Raises:
        subprocess.CalledProcessError: Its packages could not be installed.
    """
    lock = "requirements.lock"
    if (tree / lock).read_bytes() == (REPOSITORY / lock).read_bytes():
        return sys.executable
    place = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True, timeout=_INSTALL_SECONDS)
    python = str(place / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for each in _LOCKS:
        subprocess.run(
            [*pip, "--require-hashes", "-r", tree / each], check=True, timeout=_INSTALL_SECONDS
        )
    # The services ask for the version that they were installed as.
    subprocess.run(
        [*pip, "--no-build-isolation", "--no-deps", "--editable", tree],
        check=True,
        timeout=_INSTALL_SECONDS,
    )
    return python


async def compare(plan: Plan, revision: str, tolerance: float) -> tuple[Section, bool]:
    """Compare this checkout with a revision.

    Returns:
        The table, and whether nothing became worse.
    """
    tree = unpack(revision, plan.work)
    before = Setup(tree=tree, python=interpreter_for(tree, plan.work))
    arms = [
        *linkspan(_NOW, "JSON", "SSE", setup=Setup()),
        *linkspan(_BEFORE, "JSON", "SSE", setup=before),
    ]
    found, _ = await steady(plan, arms, _LOADS, tools=FEW_TOOLS, rounds=plan.rounds)
    findings = [each for load in _LOADS for each in judge(load.name, found[load.name], tolerance)]
    section = Section(
        f"Against {revision}",
        f"What this checkout costs as a ratio to `{revision}`, in {plan.rounds} rounds: more than 1 is "
        f"worse. It is *worse* if the median is more than {tolerance:.0%} beyond 1 and chance is no "
        "likely reason; if it may be one, it is *unclear*.",
        ("", "ratio", ""),
        rows=[(each.what, spread(each.taken, number), each.said.value) for each in findings],
    )
    return section, all(each.said is not Verdict.WORSE for each in findings)


def judge(load: str, arms: Arms, tolerance: float) -> list[Finding]:
    """Judge one load: time and CPU of a request, for both kinds of answer.

    Args:
        load: Its name.
        arms: Its samples of both versions.
        tolerance: See `verdict`.
    """
    costs: list[tuple[str, Pick]] = [
        (
            "time",
            (lambda each: each.p50) if load == _CALL_1 else (lambda each: 1 / each.per_second),
        ),
        ("CPU", lambda each: each.cpu),
    ]
    findings: list[Finding] = []
    for kind in ("JSON", "SSE"):
        for name, pick in costs:
            taken = ratios(arms[f"{_NOW}, {kind}"], arms[f"{_BEFORE}, {kind}"], pick)
            findings.append(Finding(f"{load}, {kind}: {name}", taken, verdict(taken, tolerance)))
    return findings


def _git(*words: str) -> bytes:
    command: Sequence[str] = ["git", *words]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True).stdout
