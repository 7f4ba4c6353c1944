"""Finding the user's server: every way to name one, and one line for every way that fails."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from linkspan_process.errors import StartError
from linkspan_session.errors import AppError
from linkspan_session.loading import load_app

SDK = """
from mcp.server import MCPServer
{name} = MCPServer(name="named-by-its-author")
"""


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Undo what loading does to the interpreter, and look for modules in the test's folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.chdir(tmp_path)


def write(name: str, source: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(source))
    return name


def refusal(spec: str) -> str:
    with pytest.raises(AppError) as refused:
        load_app(spec)
    message = str(refused.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("attribute", ["mcp", "server", "app"])
def test_a_usual_name_need_not_be_said(attribute: str) -> None:
    write("usual.py", SDK.format(name=attribute))
    assert load_app("usual.py").name == "named-by-its-author"
    assert load_app("usual").name == "named-by-its-author"


@pytest.mark.parametrize("spec", ["pkg.inner:tools", "pkg/inner.py:tools", "./pkg/inner.py:tools"])
def test_a_module_and_a_file_are_found_by_name(spec: str) -> None:
    write("pkg/inner.py", SDK.format(name="tools"))
    assert load_app(spec).name == "named-by-its-author"


def test_an_absolute_path_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("far/away.py", SDK.format(name="mcp"))
    monkeypatch.chdir(tmp_path.parent)
    assert load_app(str(tmp_path / "far" / "away.py") + ":mcp").name == "named-by-its-author"


def test_a_file_may_import_its_neighbours() -> None:
    write("nest/neighbour_of_app.py", "name = 'from-next-door'")
    write(
        "nest/app.py",
        """
        from mcp.server import MCPServer
        from neighbour_of_app import name
        mcp = MCPServer(name=name)
        """,
    )
    assert load_app("nest/app.py").name == "from-next-door"


def test_an_attribute_may_be_dotted() -> None:
    write(
        "dotted.py",
        """
        from mcp.server import MCPServer
        class Holder:
            inner = MCPServer(name="held")
        """,
    )
    assert load_app("dotted:Holder.inner").name == "held"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("from mcp.server import MCPServer as S", id="sdk"),
        pytest.param("from mcp.server.lowlevel import Server as S", id="low-level"),
        pytest.param("from fastmcp import FastMCP as S", id="fastmcp"),
    ],
)
@pytest.mark.parametrize("spec", ["kinds:made", "kinds:make"])
def test_each_kind_of_server_is_taken_as_it_is_and_from_a_factory(source: str, spec: str) -> None:
    write("kinds.py", f"{source}\nmade = S(name='made')\ndef make():\n    return made\n")
    assert load_app(spec).name == "made"


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    first = write("one/server.py", SDK.format(name="mcp"))
    second = write("two/server.py", SDK.format(name="mcp").replace("named", "renamed"))
    assert load_app(first).name == "named-by-its-author"
    assert load_app(second).name == "renamed-by-its-author"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "name a module or a file, such as my_package.server:mcp"),
        (":mcp", "name a module or a file, such as my_package.server:mcp"),
        ("nowhere.py", "there is no such file"),
        ("no/where.py:mcp", "there is no such file"),
        (".py", "there is no such file"),
        ("no_such_module", "cannot be imported: ModuleNotFoundError: No module named"),
        ("no_such.module:mcp", "cannot be imported: ModuleNotFoundError: No module named"),
        ("..relative", "cannot be imported: TypeError: the 'package' argument is required"),
        ("a b", "cannot be imported: ModuleNotFoundError: No module named 'a b'"),
        ("mcp\x00", "cannot be imported: "),
    ],
)
def test_what_is_not_there_is_told(spec: str, says: str) -> None:
    assert says in refusal(spec)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param("raise ValueError('two\\nlines')", "ValueError: two lines (", id="raises"),
        pytest.param("raise KeyError", "KeyError: no message (", id="says-nothing"),
        pytest.param("def broken(:", "SyntaxError: invalid syntax", id="syntax"),
        pytest.param("import sys; sys.exit(3)", "SystemExit: 3 (", id="exits"),
        pytest.param("import no_such_thing", "ModuleNotFoundError: No module named", id="imports"),
    ],
)
def test_what_cannot_be_imported_is_told_with_its_place(source: str, says: str) -> None:
    write("faulty.py", source)
    for spec in ("faulty.py:mcp", "faulty:mcp"):
        message = refusal(spec)
        assert message.startswith(f"--app {spec}: cannot be imported: ")
        assert says in message
        assert "faulty" in message.partition("cannot be imported")[2] or "SyntaxError" in message


def test_a_module_that_is_not_there_is_told_without_a_place() -> None:
    assert refusal("no_such_module:mcp").endswith("No module named 'no_such_module'")


def test_a_module_that_another_imports_by_name_is_told_with_its_place() -> None:
    write("faulty.py", "import importlib\nimportlib.import_module('no_such_thing')\n")
    assert refusal("faulty:mcp").endswith("faulty.py:2)")


def test_a_missing_attribute_is_told() -> None:
    write("empty.py", "")
    assert refusal("empty:tools") == "--app empty:tools: it has no attribute 'tools'"
    assert refusal("empty.py:a.b").endswith("has no attribute 'a.b'")
    assert refusal("empty") == (
        "--app empty: has none of mcp, server, app; say which, as in empty:my_server"
    )


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("app = 5", "is of type int"),
        ("app = None", "is of type NoneType"),
        ("import json as app", "is of type module"),
        ("def app(): return 'nothing'", "returned something of type str"),
        ("async def app(): ...", "returned something of type coroutine"),
        ("class app: ...", "returned something of type app"),
    ],
)
def test_what_is_no_server_is_told(source: str, what: str) -> None:
    write("wrong.py", source)
    assert refusal("wrong:app") == (
        f"--app wrong:app: {what}; it must be an MCPServer, a low-level Server, "
        "a FastMCP object, or a function that returns one"
    )


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def app(): raise ValueError('no paper')", "ValueError: no paper ("),
        ("def app(): raise SystemExit('bye')", "SystemExit: bye ("),
        ("def app(required): ...", "TypeError: app() missing 1 required positional argument"),
    ],
)
def test_a_factory_that_fails_is_told(source: str, says: str) -> None:
    write("faulty.py", source)
    assert f"--app faulty:app: the factory failed: {says}" in refusal("faulty:app")


def test_a_refusal_stops_the_start() -> None:
    assert issubclass(AppError, StartError)


def test_a_server_of_fastmcp_is_not_looked_for_where_nobody_imported_it() -> None:
    code = "import sys; from linkspan_session.loading import load_app; load_app('plain:mcp')"
    write("plain.py", SDK.format(name="mcp"))
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit('fastmcp' in sys.modules)"],
        env=dict(os.environ),
        timeout=30,
        check=False,
    )
    assert done.returncode == 0


def test_a_file_with_a_null_byte_is_told() -> None:
    """Which exception that is depends on the release of Python."""
    write("faulty.py", "\x00")
    message = refusal("faulty.py:mcp")
    assert message.startswith("--app faulty.py:mcp: cannot be imported: ")
    assert "null bytes" in message
