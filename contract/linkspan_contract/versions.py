"""The versions of MCP that are served, by the family that each belongs to.

Pure: both services import this, so that what one lets in is what the other hosts.

Source: https://modelcontextprotocol.io/specification/versioning
"""

from typing import Final

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Versions whose sessions open with `initialize`, oldest first."""

MODERN_VERSIONS: Final = ("2026-07-28",)
"""Versions in which every request speaks for itself, oldest first."""
