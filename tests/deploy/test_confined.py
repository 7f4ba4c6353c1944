"""What the image holds, run as the image runs it: user 65534, read-only root, no capabilities."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.peer import session_at
from tests.support.processes import REPOSITORY, ServiceProcess, clean_environ

CONFINED = """
set -e
mount -o remount,bind,ro /
mount -t tmpfs -o uid=65534,gid=65534,mode=0700,noexec,nosuid,nodev tmpfs "$DATA"
cd "$DATA"
exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \
  --bounding-set -all --inh-caps -all "$@"
"""
PROVE = """
import os, sys
status = open("/proc/self/status").read()
assert os.getuid() == os.getgid() == 65534 and os.getgroups() == []
assert "CapEff:\\t0000000000000000" in status and "CapBnd:\\t0000000000000000" in status
try:
    open(os.path.join(sys.prefix, "..", "open", "written"), "w")
except OSError as error:
    assert error.errno == 30, error  # read-only, though anybody may write there
else:
    raise AssertionError("the root can be written")
try:
    import pip
except ImportError:
    print("confined")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can read, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="confined-"))
    made.chmod(0o755)
    (made / "data").mkdir()
    (made / "open").mkdir()
    (made / "open").chmod(0o777)
    yield made
    shutil.rmtree(made)


def confined(folder: Path, *words: str) -> ServiceProcess:
    environ = {**clean_environ(), "DATA": str(folder / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
    return ServiceProcess(
        subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private", "sh", "-c", CONFINED, "sh"),
                *(str(folder / "venv" / "bin" / words[0]), *words[1:]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )
    )


def install(folder: Path) -> None:
    """Make what the Containerfile makes: an environment without pip, of the lock file alone."""
    venv = folder / "venv"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    into = [*pip, "--python", str(venv / "bin" / "python"), "install", "--no-compile"]
    locked = ("--only-binary", ":all:", "--require-hashes", "-r", "requirements.lock")
    wheel = ("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), ".")
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(venv)],
        [*into, *locked],
        [*pip, *wheel],
    ):
        subprocess.run(command, check=True, cwd=REPOSITORY, timeout=240, capture_output=True)
    (built,) = folder.glob("*.whl")
    subprocess.run([*into, "--no-deps", str(built)], check=True, timeout=100, capture_output=True)


@requirement("deploy.confined")
@pytest.mark.timeout(480)
def test_what_the_image_holds_serves_as_nobody_on_a_read_only_root(folder: Path) -> None:
    if os.getuid() != 0 or not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("only root can make a mount namespace and become nobody in it")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this machine allows no mount namespaces")
    install(folder)
    proof = confined(folder, "python", "-c", PROVE)
    assert (proof.wait(), proof.output) == (0, ["confined"]), proof.errors
    proof.kill()
    app = next((folder / "venv").glob("lib/python3*/site-packages/linkspan_cli/examples/notes"))
    session = confined(
        folder, "linkspan", "session", "--port", "0", "--app", f"{app / 'server.py'}:mcp"
    )
    try:
        grpc = session.wait_ready()["grpc"]
        worker = confined(folder, "linkspan", "worker", "--port", "0", "--session", grpc)
        try:
            with session_at(worker.wait_ready()["mcp"]) as peer:
                assert peer.ask("tools/list").result["tools"]
        finally:
            assert worker.stop() == 0, worker.errors
            worker.kill()
    finally:
        assert session.stop() == 0, session.errors
        session.kill()
