"""Finding the user's MCP server: from `module:attribute` or `path.py:attribute` to an object.

The user's code is imported here, in the session server's own process and nowhere else.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from mcp.server.lowlevel import Server

from linkspan_session.errors import AppError
from linkspan_session.kernel import lowlevel_server

_USUAL_NAMES: Final = ("mcp", "server", "app")
"""What is looked for when no attribute is named."""

_WANTED: Final = (
    "an MCPServer, a low-level Server, a FastMCP object, or a function that returns one"
)

_NO_PLACES: Final = (__file__, importlib.__file__)
"""Where an error is raised that tells of a mistake elsewhere."""


def load_app(spec: str) -> Server[Any]:
    """Import the user's server.

    Args:
        spec: `package.module:attribute` or `path/to/file.py:attribute`. The attribute may be left
            out if it is called `mcp`, `server` or `app`, and may be dotted.

    Raises:
        AppError: It cannot be imported, or is not an MCP server.
    """
    place, _, attribute = spec.partition(":")
    if not place:
        raise AppError(f"--app {spec!r}: name a module or a file, such as my_package.server:mcp")
    module = _import(spec, place)
    found = _attribute(spec, module, attribute) if attribute else _usual(spec, module)
    server = lowlevel_server(found)
    what = f"is of type {type(found).__name__}"
    if server is None and callable(found):
        made = _call(spec, found)
        server = lowlevel_server(made)
        what = f"returned something of type {type(made).__name__}"
    if server is None:
        raise AppError(f"--app {spec}: {what}; it must be {_WANTED}")
    return server


def _import(spec: str, place: str) -> ModuleType:
    path = Path(place)
    if path.is_dir():
        raise AppError(
            f"--app {spec}: is a folder; name the file in it, as in {place}/server.py:mcp"
        )
    if path.is_file() and path.suffix != ".py":
        raise AppError(f"--app {spec}: is not a Python file")
    try:
        if place.endswith(".py"):
            return _import_file(path)
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    except AppError:
        raise
    except (Exception, SystemExit) as error:
        raise AppError(f"--app {spec}: cannot be imported: {_told(error)}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppError(f"--app {path}: there is no such file")
    sys.path.insert(0, str(path.parent.resolve()))
    name = f"linkspan_app_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AppError(f"--app {path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up by name
    spec.loader.exec_module(module)
    return module


def _attribute(spec: str, module: ModuleType, dotted: str) -> object:
    found: object = module
    for name in dotted.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AppError(f"--app {spec}: it has no attribute {dotted!r}") from None
    return found


def _usual(spec: str, module: ModuleType) -> object:
    for name in _USUAL_NAMES:
        if hasattr(module, name):
            return getattr(module, name)
    names = ", ".join(_USUAL_NAMES)
    raise AppError(f"--app {spec}: has none of {names}; say which, as in {spec}:my_server")


def _call(spec: str, factory: Any) -> object:
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise AppError(f"--app {spec}: the factory failed: {_told(error)}") from error
    if inspect.iscoroutine(made):
        made.close()  # else Python warns that it was never awaited
    return made


def _told(error: BaseException) -> str:
    """Say what happened and where, on one line."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in _NO_PLACES and not frame.filename.startswith("<frozen ")
    ]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    what = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {what}{where}"
