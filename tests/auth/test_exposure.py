"""Whom a worker serves without asking who they are: this machine, unless told otherwise."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.processes import linkspan

from linkspan_process.errors import SettingError
from linkspan_process.settings import from_env
from linkspan_worker.auth_config import check_exposure
from linkspan_worker.auth_door import read_settings
from linkspan_worker.config import WorkerConfig

ELSEWHERE = "192.0.2.1"


@requirement("auth.exposed")
@pytest.mark.parametrize("command", [("worker",), ("run",)])
def test_an_address_that_others_reach_is_refused_without_authentication(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    env = {
        "LINKSPAN_WORKER_HOST": ELSEWHERE,
        "LINKSPAN_WORKER_PORT": "0",
        "LINKSPAN_SESSION_PORT": "0",
        "LINKSPAN_TRACES_PORT": "0",
    }
    with linkspan(*command, env=env, cwd=tmp_path) as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert f"--host {ELSEWHERE}" in line
    assert "--insecure-no-auth, or LINKSPAN_WORKER_INSECURE_NO_AUTH=yes," in line


@requirement("auth.exposed")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_authentication(host: str) -> None:
    check_exposure(WorkerConfig(), host)


@requirement("auth.exposed")
def test_told_what_it_risks_it_serves_everybody() -> None:
    check_exposure(WorkerConfig(insecure_no_auth=True), ELSEWHERE)


@pytest.mark.parametrize(
    "config",
    [
        WorkerConfig(auth_issuer=("https://as.example",)),
        WorkerConfig(auth_api_keys=Path("keys")),
    ],
)
def test_elsewhere_the_resource_has_to_be_named(config: WorkerConfig) -> None:
    check_exposure(config, "127.0.0.1")
    with pytest.raises(SettingError, match=r"--auth-resource: .* tokens and API keys"):
        check_exposure(config, ELSEWHERE)


@requirement("auth.exposed")
@pytest.mark.parametrize(
    "config",
    [
        WorkerConfig(auth_scopes=frozenset({"a"})),
        WorkerConfig(auth_check="checks:may_enter"),
        WorkerConfig(auth_jwks_url="https://as.example/jwks", insecure_no_auth=True),
    ],
)
def test_settings_that_would_lock_nobody_out_are_refused(config: WorkerConfig) -> None:
    with pytest.raises(SettingError, match="let anybody in"):
        check_exposure(config, "127.0.0.1")


def test_issuers_stay_in_the_order_in_which_they_are_named() -> None:
    named = "https://z.example, https://a.example,https://z.example"
    environ = {"LINKSPAN_WORKER_AUTH_ISSUER": named}
    config = from_env(WorkerConfig, environ, prefix="LINKSPAN_WORKER_")
    settings = read_settings(config, "http://127.0.0.1/mcp")
    assert settings.issuers == ("https://z.example", "https://a.example")


@requirement("auth.opaque")
def test_opaque_tokens_are_asked_about_at_no_more_than_one_issuer(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    words = ("--auth-issuer", "https://a.example,https://b.example", "--auth-client-id", "x")
    secret = ("--auth-client-secret-file", "secret")
    with linkspan("worker", "--port", "0", *words, *secret, cwd=tmp_path) as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert "name one only" in line


def test_a_worker_without_authentication_loads_none_of_it() -> None:
    code = (
        "import sys, linkspan_worker.server, linkspan_cli.main; "
        "print({'linkspan_auth', 'jwt'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=45, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--auth-issuer", "http://as.example"), "--auth-issuer: 'http://as.example' must be an"),
        (("--auth-api-keys", "k", "--auth-resource", "http://a.example"), "--auth-resource: 'http"),
        (
            ("--auth-issuer", "https://a.example", "--auth-jwks-url", "http://a.example"),
            "--auth-jwks-url: 'http",
        ),
        (("--auth-issuer", "https://a.example", "--auth-algorithms", "HS256"), "symmetric"),
        (("--auth-issuer", "https://a.example", "--auth-client-id", "x"), "go together"),
        (("--auth-issuer", "https://a.example", "--auth-remember", "61"), "a minute"),
        (("--auth-issuer", "https://a.example", "--auth-scope-rules", "missing"), "missing"),
        (("--auth-issuer", "https://a.example", "--auth-check", "json:loads"), "coroutine"),
        (("--auth-issuer", "https://a.example", "--auth-check", "nowhere:f"), "imported"),
        (("--auth-api-keys", "missing"), "--auth-api-keys missing: No such file or directory"),
        (
            ("--auth-api-keys", str(Path(__file__))),
            "test_exposure.py: is no file of API keys: line 1: is no line as `linkspan api-key`",
        ),
        (("--insecure-no-auth", "maybe"), "--insecure-no-auth: must be one of yes, no"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with linkspan("worker", "--port", "0", *words, cwd=tmp_path) as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert said in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--subject", " "), "--subject: must not be empty"),
        (("--subject", "x", "--scopes", 'a"b'), "is no scope"),
        (("--subject", "x", "--days", "0"), "--days: must be a number"),
        (("--subject", "x", "--days", "-1"), "--days: must be a number"),
    ],
)
def test_a_key_that_cannot_be_made_is_told_in_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with linkspan("api-key", "--file", str(tmp_path / "keys"), *words) as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert said in line
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("there", [b"my notes\n", b"\xff\xfe\x00", b"{}\n", b"[1, 2"])
def test_a_key_is_not_put_into_a_file_that_holds_something_else(
    there: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "notes"
    file.write_bytes(there)
    with linkspan("api-key", "--file", str(file), "--subject", "ci") as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert f"--file {file}: is no file of API keys: " in line
    assert file.read_bytes() == there
    assert not process.output


def test_a_key_is_not_put_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "keys"
    with linkspan("api-key", "--file", str(file), "--subject", "ci") as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert f"--file {file}: there is no folder {file.parent}" in line
