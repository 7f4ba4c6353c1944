"""Loads an example as the host does: by its path, with its folder in front of `sys.path`."""

import importlib.util
import sys
from pathlib import Path

from mcp.server import MCPServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load_example(name: str) -> MCPServer:
    """The `mcp` object of `examples/<name>/server.py`, in a fresh module of its own."""
    path = EXAMPLES / name / "server.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Pydantic looks the module of a model up while the module is executed.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    server: MCPServer = module.mcp
    return server
