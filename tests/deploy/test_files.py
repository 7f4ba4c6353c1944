"""The files of deploy/: they confine what they run, and name flags that exist."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.requirements import requirement
from tests.support.processes import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text("utf-8"))


def pods() -> list[tuple[str, dict[str, Any]]]:
    return [
        (each["metadata"]["name"], each["spec"]["template"]["spec"])
        for each in documents()
        if each["kind"] == "Deployment"
    ]


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    services: dict[str, Any] = read["services"]
    return services


def commands() -> list[list[str]]:
    in_pods = [pod["containers"][0]["args"] for _, pod in pods()]
    return [*in_pods, *(s["command"] for n, s in compose().items() if n != "valkey")]


@requirement("deploy.files")
def test_each_flag_is_one_that_the_command_has() -> None:
    known = {
        service: subprocess.run(
            [sys.executable, "-m", "linkspan_cli", service, "--help"],
            capture_output=True,
            text=True,
            check=True,
            timeout=40,
        ).stdout
        for service in ("session", "worker")
    }
    seen = commands()
    assert [command[0] for command in seen].count("worker") == 3
    for service, *words in seen:
        for word in words:
            flag = word.partition("=")[0]
            assert re.search(rf"{flag}[ ,\n=]", known[service]), (service, flag)


@requirement("deploy.files")
def test_pods_run_as_nobody_on_a_read_only_root_without_capabilities() -> None:
    assert [name for name, _ in pods()] == ["linkspan-session", "linkspan-worker"]
    for name, pod in pods():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 65534
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"readinessProbe", "livenessProbe", "lifecycle"} <= container.keys()
        assert container["resources"]["limits"]["memory"]
        (drain,) = [w for w in container["args"] if w.startswith("--drain-timeout=")]
        assert pod["terminationGracePeriodSeconds"] >= int(drain.partition("=")[2]) + 15
        # Kubernetes would set LINKSPAN_SESSION_PORT for a Service of that name, which is a setting.
        assert pod["enableServiceLinks"] is False
    budgets = [d for d in documents() if d["kind"] == "PodDisruptionBudget"]
    assert [d["spec"]["selector"]["matchLabels"]["app"] for d in budgets] == [n for n, _ in pods()]


@requirement("deploy.files")
def test_services_of_compose_run_confined_and_only_workers_are_reached_on_loopback() -> None:
    services = compose()
    assert sorted(services) == ["session-1", "session-2", "valkey", "worker-1", "worker-2"]
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] not in ("", "root", "0", "0:0")
        ports = service.get("ports", [])
        assert all(port.startswith("127.0.0.1:") for port in ports)
        assert bool(ports) is name.startswith("worker")
    assert all(services[f"session-{n}"]["user"] == "65534:65534" for n in (1, 2))


@requirement("deploy.files")
def test_the_image_is_made_of_digests_for_nobody_and_holds_no_pip() -> None:
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    build, final = text.split("\nFROM ")[1:]
    assert build.count("--require-hashes") == 2
    assert "--without-pip" in build
    assert "pip uninstall" in final
    assert "\nUSER 65534:65534\n" in final
    assert final.rindex("USER") > final.rindex("RUN")
    assert "ADD " not in text


@requirement("deploy.files")
@pytest.mark.parametrize(
    "path", ["Containerfile", "compose.yaml", *(f"kubernetes/{p.name}" for p in MANIFESTS)]
)
def test_every_image_has_a_version_and_no_address(path: str) -> None:
    text = (DEPLOY / path).read_text("utf-8")
    for image in re.findall(r"(?:image:|^FROM) (\S+)", text, re.MULTILINE):
        assert re.fullmatch(r"[a-z]+(?:/[a-z]+)?:[0-9][\w.-]+", image), image
    assert "latest" not in text
