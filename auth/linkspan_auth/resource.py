"""What this resource says of itself: the protected resource metadata, and where they are.

Pure. Source: RFC 9728, sections 2, 3 and 3.1 (the well-known part goes between host and path).
"""

import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True, slots=True)
class ResourceMetadata:
    """The metadata of one resource.

    Attributes:
        text: The JSON document.
        url: Where clients find it, as the challenge names it.
        paths: The paths under which it is served: without the resource's path, and with it.
    """

    text: str
    url: str
    paths: frozenset[str]


def resource_metadata(
    resource: str, issuers: tuple[str, ...], scopes: tuple[str, ...], served_path: str
) -> ResourceMetadata:
    """Describe a resource.

    Args:
        resource: Its canonical address.
        issuers: Who issues tokens for it.
        scopes: All scopes that any request may need.
        served_path: The path under which the resource is served here, which differs from that of
            its address if something in front takes a part of it away.
    """
    parts = urlsplit(resource)
    path = parts.path.rstrip("/")
    document = {
        "resource": resource,
        "authorization_servers": list(issuers),
        "bearer_methods_supported": ["header"],
    }
    if scopes:
        document["scopes_supported"] = list(scopes)
    return ResourceMetadata(
        text=json.dumps(document),
        url=f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{path}",
        paths=frozenset({WELL_KNOWN, WELL_KNOWN + path, WELL_KNOWN + served_path}),
    )
