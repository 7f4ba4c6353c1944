"""The page that shows the trees to people is made from the pictures, and has all of them."""

from tests.requirements import requirement
from tests.trees.render_page import PAGE, named, render, shown
from tests.trees.stage import PICTURES


@requirement("trace.trees")
def test_the_page_shows_each_picture_once_and_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert sorted(named(page)) == sorted(path.stem for path in PICTURES.glob("*.txt"))
    assert page == render(page), "run: python -m tests.trees.render_page"


def test_a_picture_on_the_page_has_values_without_names_and_no_details() -> None:
    picture = """\
trace 1
  mcp.request SERVER [linkspan-worker] ERROR http.response.status_code=503 error.type=UNAVAILABLE
  │  mcp.rpc.error.message=No; try again
  │  * linkspan.resend reason=UNAVAILABLE
  └─ McpSession.handleRequest SERVER [linkspan-session, first] <- parent is not here
        mcp.session.owner_match=True"""
    assert shown(picture).splitlines() == [
        "trace 1",
        "  mcp.request SERVER [worker] ERROR 503 UNAVAILABLE",
        "  │  * linkspan.resend UNAVAILABLE",
        "  └─ McpSession.handleRequest SERVER [session, first] <- parent is not here",
    ]
