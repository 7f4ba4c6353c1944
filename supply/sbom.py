"""`make sbom`: the run dependencies as CycloneDX 1.6, from the lock file alone, so the same each time.

No address stands in it: a package is named by its purl, and its files by their digests. Each file is
a part of its component, because CycloneDX takes one SHA-256 a component.

Source: https://cyclonedx.org/docs/1.6/json/.
"""

import json
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any, Final

from supply.lock import Pin, read_lock

_ROOT: Final = Path(__file__).parents[1]
_NAMESPACE: Final = uuid.UUID("6f1d3b3e-6a0a-5a38-9a53-0f6f6c4f2b11")


def bill_of(name: str, version: str, pins: list[Pin]) -> dict[str, Any]:
    """Return the bill of materials of a program.

    Args:
        name: The program.
        version: Its version.
        pins: What it is installed with.
    """
    components = [_component(pin) for pin in pins]
    told = json.dumps(components, sort_keys=True)
    root = f"pkg:pypi/{name}@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(_NAMESPACE, root + told).urn,
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": name,
                "version": version,
                "purl": root,
            }
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def _component(pin: Pin) -> dict[str, Any]:
    purl = f"pkg:pypi/{pin.name}@{pin.version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": pin.name,
        "version": pin.version,
        "purl": purl,
        "components": [
            {
                "type": "file",
                "bom-ref": f"{purl}#{digest}",
                "name": f"{pin.name}-{pin.version}",
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for digest in sorted(pin.sha256)
        ],
    }
    if pin.marker:
        component["properties"] = [{"name": "linkspan:installed-where", "value": pin.marker}]
    return component


def main() -> int:
    """Print the bill of this program."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins = read_lock((_ROOT / "requirements.lock").read_text("utf-8"))
    json.dump(bill_of(project["name"], project["version"], pins), sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
