"""What else follows from the settings, of a worker that clients do not reach directly.

Pure. Above lies `server`; `auth_config.check_exposure` is about the address.
"""

from linkspan_process.errors import SettingError
from linkspan_process.hosts import is_loopback
from linkspan_worker.config import WorkerConfig
from linkspan_worker.pages import host_name


def check_proxied(config: WorkerConfig) -> None:
    """Refuse to stand behind proxies as if only this machine could call.

    Args:
        config: The settings.

    Raises:
        SettingError: Others call through the proxies, and nobody would be asked who they are; or
            their tokens would be issued for an address that is not known here.
    """
    if not config.trusted_proxies:
        return
    if not (config.wants_auth or config.insecure_no_auth):
        raise SettingError(
            "--trusted-proxies: others reach this worker through them, and nobody would be asked "
            "who they are; set --auth-issuer or --auth-api-keys (docs/auth.md); "
            "--insecure-no-auth, or LINKSPAN_WORKER_INSECURE_NO_AUTH=yes, lets everybody call every "
            "tool"
        )
    # Never taken from a request: whoever could write it would choose whose tokens are good here.
    if config.wants_auth and not config.auth_resource:
        raise SettingError(
            "--auth-resource: behind --trusted-proxies, name the address by which clients know "
            "this server, such as https://mcp.example.com/mcp; their tokens and API keys are "
            "issued for it"
        )


def answered_hosts(config: WorkerConfig) -> frozenset[str] | None:
    """Say which names a worker answers to beside those of this machine; None for any.

    That of `--auth-resource` is one; alone it bounds nothing where the worker serves on an address
    that others reach, for those who check on it by that address.
    """
    if not (config.allowed_hosts or is_loopback(config.host)):
        return None
    resource = host_name(config.auth_resource.partition("://")[2])
    return config.allowed_hosts | ({resource} if resource else frozenset[str]())
