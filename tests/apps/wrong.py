"""Things that are no MCP server."""

marks: list[str] = []


def factory_of_nothing() -> None:
    """Make nothing."""


async def async_factory() -> None:
    """Make nothing, later."""
