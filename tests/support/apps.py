"""The servers that tests host, as `--app` names them."""

from typing import Final

from tests.support.processes import REPOSITORY

APPS: Final = REPOSITORY / "tests" / "apps"
TELLING: Final = str(APPS / "telling.py") + ":mcp"
PROBE: Final = str(APPS / "probe.py") + ":server"
