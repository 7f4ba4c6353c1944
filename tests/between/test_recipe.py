"""The recipe of docs/between-services.md as printed: certificates, and commands that use them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.requirements import requirement
from tests.support.peer import session_at
from tests.support.processes import REPOSITORY, linkspan

PAGE = REPOSITORY / "docs" / "between-services.md"
GRPCURL = str(Path(sys.prefix) / "bin" / "grpcurl")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@requirement("tls.recipe")
def test_the_recipe_for_certificates_works_as_printed(tmp_path: Path) -> None:
    (recipe,) = blocks("sh")
    made = subprocess.run(
        ["bash", "-euc", recipe], cwd=tmp_path, capture_output=True, timeout=50, check=False
    )
    assert made.returncode == 0, made.stderr
    (commands,) = blocks("console")
    session, worker, grpcurl = (
        shlex.split(line.removeprefix("$ ")) for line in commands.splitlines()
    )
    app = "examples/notes/server.py"
    session = [word.replace(app, str(REPOSITORY / app)) for word in session]
    with linkspan(*session[1:], "--port", "0", cwd=tmp_path) as server:
        address = server.wait_ready()["grpc"]

        def at_its_port(words: list[str]) -> list[str]:
            assert "127.0.0.1:50051" in words
            return [word.replace("127.0.0.1:50051", address) for word in words[1:]]

        with (
            linkspan(*at_its_port(worker), "--port", "0", cwd=tmp_path) as process,
            session_at(process.wait_ready()["mcp"]) as client,
        ):
            assert client.ask("tools/list").status == 200
        listed = subprocess.run(
            [GRPCURL, *at_its_port(grpcurl)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "linkspan.session.v1.SessionService" in listed.stdout, listed.stderr
