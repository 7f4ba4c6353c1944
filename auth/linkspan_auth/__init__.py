"""Who may call: an OAuth 2.1 resource server's decisions, for any HTTP server.

It takes header values and returns decisions; it knows nothing of HTTP servers, gRPC or MCP beyond the
names of methods. See the README.
"""

from linkspan_auth.api_keys import ApiKey, append_key, make_key
from linkspan_auth.authenticator import Authenticator, authenticating
from linkspan_auth.challenge import challenge, sentence
from linkspan_auth.errors import AuthConfigurationError, AuthError, KeyFileError
from linkspan_auth.fetching import check_url
from linkspan_auth.introspection import ClientSecret
from linkspan_auth.live_check import LiveCheck, load_check
from linkspan_auth.model import CredentialKind, Denial, Identity, Outcome, Reason
from linkspan_auth.resource import ResourceMetadata, resource_metadata
from linkspan_auth.scopes import ScopeRules, parse_rules
from linkspan_auth.settings import AuthSettings

__all__ = [
    "ApiKey",
    "AuthConfigurationError",
    "AuthError",
    "AuthSettings",
    "Authenticator",
    "ClientSecret",
    "CredentialKind",
    "Denial",
    "Identity",
    "KeyFileError",
    "LiveCheck",
    "Outcome",
    "Reason",
    "ResourceMetadata",
    "ScopeRules",
    "append_key",
    "authenticating",
    "challenge",
    "check_url",
    "load_check",
    "make_key",
    "parse_rules",
    "resource_metadata",
    "sentence",
]
