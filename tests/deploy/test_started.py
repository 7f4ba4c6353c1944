"""What deploy/ says is run, run: its own commands as plain processes, its own recipe for certificates.

Only what a machine without containers cannot have is replaced: addresses, ports, the store, the issuer,
and the paths of what is mounted, which are followed to where the recipe puts it.
"""

import re
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import yaml
from tests.auth.issuer import running_issuer
from tests.requirements import requirement
from tests.support.peer import peer_of
from tests.support.ports import free_port
from tests.support.processes import REPOSITORY, ServiceProcess, linkspan

DEPLOY: Final = REPOSITORY / "deploy"
README: Final = (DEPLOY / "README.md").read_text("utf-8")
NOTES: Final = str(REPOSITORY / "examples" / "notes" / "server.py") + ":mcp"
RESOURCE: Final = "https://mcp.example.com/mcp"

Mounts = dict[str, Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What stands for the root of the repository, after the recipe."""
    (recipe,) = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euc", recipe], cwd=tmp_path, capture_output=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "key").write_bytes(bytes(range(32)))
    return tmp_path


class Site:
    """Two session servers and a worker, each as its file says."""

    def __init__(self, root: Path, stack: ExitStack, issuer: str) -> None:
        self._root = root
        self._stack = stack
        self._issuer = issuer
        self.servers: list[str] = []
        """Where session servers are."""
        self.operator: list[dict[str, str]] = []
        """What the environment says to operators in the container of each."""

    def start(self, words: list[str], env: dict[str, str], mounts: Mounts) -> ServiceProcess:
        """Start one command; `mounts` says what each folder of its container is."""
        port, admin = free_port(), free_port()
        service, *flags = words
        replaced = {
            "--app": NOTES,
            "--store": f"sqlite:///{self._root / 'sessions.db'}",
            "--admin-address": f"0.0.0.0:{admin}",
            "--session": ",".join(self.servers),
            "--auth-issuer": self._issuer,
        }
        given = [name for name, _, _ in (flag.partition("=") for flag in flags)]
        shown = [
            f"{name}={replaced.get(name) or located(value, mounts)}" if value else name
            for name, _, value in (flag.partition("=") for flag in flags)
        ]
        # A setting of a container's environment counts as in the container.
        env = {name: located(value, mounts) for name, value in env.items()}
        if service == "session":
            assert re.search(r":50051$", env.pop("LINKSPAN_SESSION_ADVERTISE"))
            env["LINKSPAN_SESSION_ADVERTISE"] = f"127.0.0.1:{port}"
            if "--store" not in given:
                assert env.pop("LINKSPAN_SESSION_STORE")
                env["LINKSPAN_SESSION_STORE"] = replaced["--store"]
            assert env["LINKSPAN_WORKER_SESSION"] == "127.0.0.1:50052"
            env["LINKSPAN_WORKER_SESSION"] = f"127.0.0.1:{admin}"
            self.servers.append(f"127.0.0.1:{port}")
            self.operator.append(
                {name: each for name, each in env.items() if name.startswith("LINKSPAN_WORKER_")}
            )
        process = linkspan(service, *shown, f"--port={port}", env=env)
        return self._stack.enter_context(process)


def located(value: str, mounts: Mounts) -> str:
    """Follow a path into what is mounted; what is no such path stays."""
    for folder, source in mounts.items():
        if value.startswith(folder + "/"):
            path = source / value.removeprefix(folder + "/")
            assert path.is_file(), (value, path)
            return str(path)
    assert not value.startswith("/etc"), value
    return value


def in_compose(root: Path, service: dict[str, Any]) -> tuple[list[str], dict[str, str], Mounts]:
    mounts: Mounts = {}
    for volume in service["volumes"]:
        source, folder, mode = volume.split(":")
        assert mode == "ro"
        mounts[folder] = root / "deploy" / source
    return service["command"], service.get("environment", {}), mounts


def in_kubernetes(root: Path, pod: dict[str, Any]) -> tuple[list[str], dict[str, str], Mounts]:
    (container,) = pod["containers"]
    made = dict(re.findall(r"create secret generic (\S+) --from-file=(\S+)", README))
    secrets = {
        each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each
    }
    mounts: Mounts = {}
    for mount in container["volumeMounts"]:
        if mount["name"] in secrets:
            source = root / made[secrets[mount["name"]]]
            mounts[mount["mountPath"]] = source if source.is_dir() else source.parent
    env = {each["name"]: each.get("value", "from elsewhere") for each in container.get("env", ())}
    env.pop("POD_IP", None)
    return container["args"], env, mounts


def check_site(site: Site, worker: ServiceProcess, token: str | None) -> None:
    """Check that a call is answered over TLS, and that operators may look and others not."""
    mcp = worker.wait_ready()["mcp"].replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - compared
    with peer_of(mcp) as peer:
        if token is not None:
            peer.http.headers["authorization"] = f"Bearer {token}"
        for _ in range(4):  # so that both session servers are asked
            peer.session_id = None
            assert peer.initialize().status == 200
            assert peer.ask("tools/list").result["tools"]
        ready = httpx2.get(mcp.removesuffix("/mcp") + "/readyz", timeout=15)
        assert ready.status_code == 200
        assert peer.session_id is not None
        with linkspan("sessions", "list", env=site.operator[0]) as listed:
            assert listed.wait() == 0, listed.errors
            assert len(listed.output) >= 5
        for env in site.operator:  # from each container, whosever session it is
            with linkspan("sessions", "end", "--yes", "--", peer.session_id, env=env) as end:
                assert end.wait() == 0, end.errors
    for address in site.servers:  # as workers call it
        env = {**site.operator[0], "LINKSPAN_WORKER_SESSION": address}
        with linkspan("sessions", "list", env=env) as refused:
            assert refused.wait() == 1
            assert "has an --admin-address" in refused.errors[-1]


@requirement("deploy.starts")
def test_what_compose_runs_answers_over_tls(root: Path) -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    with ExitStack() as stack:
        site = Site(root, stack, "")
        for name in ("session-1", "session-2"):
            site.start(*in_compose(root, services[name])).wait_ready()
        worker = site.start(*in_compose(root, services["worker-1"]))
        check_site(site, worker, None)


@requirement("deploy.starts")
def test_what_the_manifests_run_answers_over_tls_and_passes_its_probes(root: Path) -> None:
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
        for each in yaml.safe_load_all(path.read_text("utf-8"))
        if each["kind"] == "Deployment"
    }
    with ExitStack() as stack:
        issuer = stack.enter_context(running_issuer())
        site = Site(root, stack, issuer.name)
        for _ in range(2):
            site.start(*in_kubernetes(root, pods["linkspan-session"])).wait_ready()
        worker = site.start(*in_kubernetes(root, pods["linkspan-worker"]))
        check_site(site, worker, issuer.token(RESOURCE))
        probe = pods["linkspan-session"]["containers"][0]
        for env in site.operator:
            with linkspan(*probe["readinessProbe"]["exec"]["command"][1:], env=env) as ready:
                assert ready.wait() == 0, ready.errors
        for address in site.servers:
            assert probe["livenessProbe"]["tcpSocket"] == {"port": 50051}
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=15).close()
