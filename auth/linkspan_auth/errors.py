"""Why a caller is not let in, or this cannot run at all.

AuthError
├── AuthConfigurationError   a setting is wrong; the message tells a person what to do (ours to start)
├── CredentialError          the credential does not do, and why (the caller's fault)
└── UnavailableError         nobody can tell just now (the issuer's or the live check's fault)
    └── FetchError           one fetch failed, and how; never leaves the library
"""

from linkspan_auth.model import Reason


class AuthError(Exception):
    """What this library raises."""


class AuthConfigurationError(AuthError):
    """A setting is wrong."""


class KeyFileError(AuthConfigurationError):
    """A file of API keys is not there, cannot be read, or is none; the words begin with its path."""


class CredentialError(AuthError):
    """The credential does not do.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class UnavailableError(AuthError):
    """Whether the credential is good cannot be told now.

    Attributes:
        reason: Who does not answer.
        retry_after_seconds: When to ask again, at the earliest.
    """

    def __init__(self, reason: Reason, retry_after_seconds: float) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class FetchError(AuthError):
    """A document could not be fetched; the message says how, without what was sent.

    Attributes:
        status: The HTTP status, if the answer's status was what failed; else None.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
