"""What can be set about who is let in; each with its unit and default.

Above lies `config`. Nothing here loads `linkspan_auth`, which a worker without it never needs.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from linkspan_process.errors import SettingError
from linkspan_process.hosts import is_loopback
from linkspan_process.settings import (
    parse_list,
    parse_optional_path,
    parse_seconds,
    parse_text,
    parse_words,
    parse_yes,
    setting,
)


@dataclass(frozen=True)  # no slots: a class cannot have two parents that have them
class AuthConfig:
    """The settings of authentication; without an issuer and without API keys there is none."""

    auth_issuer: tuple[str, ...] = setting(
        (),
        parse=parse_list,
        help="the issuers whose access tokens are taken, https URLs separated by commas",
        metavar="URLS",
    )
    auth_resource: str = setting(
        "",
        parse=parse_text,
        help="the address by which clients know this server, for which their credentials are "
        "issued; on loopback it need not be said",
        metavar="URL",
    )
    auth_audience: frozenset[str] = setting(
        frozenset[str](),
        parse=parse_words,
        help="what tokens may call this server in `aud` beside its address, separated by commas",
        metavar="NAMES",
    )
    auth_algorithms: frozenset[str] = setting(
        frozenset({"RS256", "PS256", "ES256", "EdDSA"}),
        parse=parse_words,
        help="how tokens may be signed, separated by commas; never with a shared secret",
        metavar="NAMES",
    )
    auth_jwks_url: str = setting(
        "",
        parse=parse_text,
        help="where the issuer's keys are, if its metadata do not say so",
        metavar="URL",
    )
    auth_client_id: str = setting(
        "",
        parse=parse_text,
        help="who this server is at the issuer, to ask it about tokens that are no JWT; "
        "with one issuer only",
        metavar="ID",
    )
    auth_client_secret_file: Path | None = setting(
        None,
        parse=parse_optional_path,
        help="the file with the secret that this server shows the issuer with its id",
        metavar="FILE",
    )
    auth_introspection_url: str = setting(
        "",
        parse=parse_text,
        help="where to ask about tokens, if the issuer's metadata do not say so",
        metavar="URL",
    )
    auth_api_keys: Path | None = setting(
        None,
        parse=parse_optional_path,
        help="the file of API keys; see `linkspan api-key`",
        metavar="FILE",
    )
    auth_scopes: frozenset[str] = setting(
        frozenset[str](),
        parse=parse_words,
        help="the scopes that every request needs, separated by commas",
        metavar="SCOPES",
    )
    auth_scope_rules: Path | None = setting(
        None,
        parse=parse_optional_path,
        help="the TOML file that says which methods and tools need which scopes",
        metavar="FILE",
    )
    auth_check: str = setting(
        "",
        parse=parse_text,
        help="a coroutine function that says of a verified caller whether it may still come in, "
        "module:function or path.py:function",
        metavar="WHERE",
    )
    auth_check_timeout: float = setting(
        2.0,
        parse=parse_seconds,
        help="how long that function may take, in seconds",
        metavar="SECONDS",
    )
    auth_remember: float = setting(
        60.0,
        parse=parse_seconds,
        help="how long a verified token is not verified again, in seconds, at most 60",
        metavar="SECONDS",
    )
    auth_refresh_interval: float = setting(
        5.0,
        parse=parse_seconds,
        help="how often an unknown key may have the issuer's keys fetched anew, in seconds",
        metavar="SECONDS",
    )
    insecure_no_auth: bool = setting(
        False,
        parse=parse_yes,
        help="serve on an address that others reach without asking anybody who they are: whoever "
        "reaches it can call every tool, and act in any session whose id they learn",
        metavar="yes",
    )

    @property
    def wants_auth(self) -> bool:
        """Whether anybody is asked who they are."""
        return bool(self.auth_issuer) or self.auth_api_keys is not None


def check_exposure(config: AuthConfig, host: str) -> None:
    """Refuse to serve others without asking them who they are, unless that was asked for.

    Args:
        config: The settings.
        host: The address to serve on.

    Raises:
        SettingError: The settings say so, or are of use only with others that are missing.
    """
    if config.wants_auth:
        if not config.auth_resource and not is_loopback(host):
            raise SettingError(
                "--auth-resource: name the address by which clients know this server, such as "
                "https://mcp.example.com/mcp; their tokens and API keys are "
                "issued for it"
            )
        return
    given = (
        each.name
        for each in dataclasses.fields(AuthConfig)
        if getattr(config, each.name) != each.default
    )
    if set(given) - {"insecure_no_auth"}:
        raise SettingError(
            "--auth-issuer or --auth-api-keys: name one; without, the other --auth settings let "
            "anybody in"
        )
    if not is_loopback(host) and not config.insecure_no_auth:
        raise SettingError(
            f"--host {host}: others reach this address, and nobody would be asked who they are; "
            "set --auth-issuer or --auth-api-keys (docs/auth.md), or serve on 127.0.0.1; "
            "--insecure-no-auth, or LINKSPAN_WORKER_INSECURE_NO_AUTH=yes, lets everybody call every "
            "tool"
        )
