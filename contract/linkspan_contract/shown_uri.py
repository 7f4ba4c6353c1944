"""How a URI is called where secrets in it must not stand: in spans and in the audit trail."""

import re
from typing import Final

_SECRET_PARTS: Final = re.compile(r"[?#]")
_USERINFO: Final = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*+:)?//)[^/]*@")


def shown_uri(uri: str) -> str:
    """Return what names the resource: all but query and fragment, and whoever stands before the host.

    A URI's query and fragment may hold a token, its userinfo a password (RFC 3986, section 3.2.1).
    """
    named = _SECRET_PARTS.split(uri, maxsplit=1)[0]
    found = _USERINFO.match(named)
    return named if found is None else found[1] + named[found.end() :]
