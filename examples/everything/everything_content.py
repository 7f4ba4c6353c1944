"""What the server offers: tools by content type, prompts, resources and completion.

Every answer is fixed, so that a client's test can compare it. Names and texts follow the fixtures
of the official conformance suite; see `README.md`.
"""

import base64
import json
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import UserMessage
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import (
    AudioContent,
    Completion,
    CompletionArgument,
    CompletionContext,
    EmbeddedResource,
    ImageContent,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import Field

IMAGE_PNG_BASE64 = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
"""One red pixel."""

AUDIO_WAV_BASE64 = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="
"""One silent sample: 8 kHz, 16 bits, mono."""

CITIES = ("Paris", "Parma", "Perth", "Porto", "Prague")
"""What completion suggests for the arguments of `test_prompt_with_arguments`."""

READ_ONLY = ToolAnnotations(read_only_hint=True)


def register(mcp: MCPServer) -> None:
    """Add the tools, prompts, resources and completion of this module to the server."""
    _add_tools(mcp)
    _add_prompts(mcp)
    _add_resources(mcp)
    _add_completion(mcp)


def json_schema_tool() -> Tool:
    """A tool whose input schema uses JSON Schema 2020-12 beyond what type hints can say (SEP-1613).

    It is handed to the server's constructor: the decorator derives schemas and takes none.
    """

    def contact(
        name: str = "",
        address: dict[str, str] | None = None,
        contactMethod: str = "",  # noqa: N803 - the name is the suite's
        phone: str = "",
        email: str = "",
    ) -> str:
        """Take a contact by phone or by email; the schema says which field is then required."""
        return f"{name or 'Nobody'} by {contactMethod or 'any way'}: {phone or email}"

    tool = Tool.from_function(contact, name="json_schema_2020_12_tool", annotations=READ_ONLY)
    return tool.model_copy(update={"parameters": JSON_SCHEMA_2020_12})


JSON_SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _image() -> ImageContent:
    return ImageContent(type="image", data=IMAGE_PNG_BASE64, mime_type="image/png")


def _resource(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return EmbeddedResource(type="resource", resource=contents)


def _add_tools(mcp: MCPServer) -> None:
    @mcp.tool(annotations=READ_ONLY)
    def test_simple_text() -> str:
        """Answer with one text."""
        return "This is a simple text response for testing."

    @mcp.tool(annotations=READ_ONLY)
    def test_image_content() -> ImageContent:
        """Answer with one image."""
        return _image()

    @mcp.tool(annotations=READ_ONLY)
    def test_audio_content() -> AudioContent:
        """Answer with one sound."""
        return AudioContent(type="audio", data=AUDIO_WAV_BASE64, mime_type="audio/wav")

    @mcp.tool(annotations=READ_ONLY)
    def test_embedded_resource() -> EmbeddedResource:
        """Answer with one resource, contents included."""
        text = "This is an embedded resource content."
        return _resource("test://embedded-resource", "text/plain", text)

    @mcp.tool(annotations=READ_ONLY)
    def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        """Answer with a text, an image and a resource."""
        data = json.dumps({"test": "data", "value": 123})
        return [
            _text("Multiple content types test:"),
            _image(),
            _resource("test://mixed-content-resource", "application/json", data),
        ]

    @mcp.tool(annotations=READ_ONLY)
    def test_error_handling() -> str:
        """Fail, with a text that the client's model is meant to read."""
        raise ToolError("This tool intentionally returns an error for testing")

    @mcp.tool(annotations=READ_ONLY)
    def test_custom_headers(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "anywhere",
        priority: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Priority"})] = 0,
        query: str = "",
    ) -> str:
        """Take two arguments that a client mirrors into HTTP headers, and one that it does not.

        SEP-2243: `region` travels as `Mcp-Param-Region` too, `priority` as `Mcp-Param-Priority`.
        """
        return f"region={region} priority={priority} query={query}"


def _add_prompts(mcp: MCPServer) -> None:
    @mcp.prompt()
    def test_simple_prompt() -> list[UserMessage]:
        """Take no argument."""
        return [UserMessage(_text("This is a simple prompt for testing."))]

    @mcp.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
        """Take two arguments, which completion knows."""
        return [UserMessage(_text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]

    @mcp.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803 - the name is the suite's
        """Embed the resource of that address."""
        text = "Embedded resource content for testing."
        return [
            UserMessage(_resource(resourceUri, "text/plain", text)),
            UserMessage(_text("Please process the embedded resource above.")),
        ]

    @mcp.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """Show an image."""
        return [UserMessage(_image()), UserMessage(_text("Please analyze the image above."))]


def _add_resources(mcp: MCPServer) -> None:
    @mcp.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text that never changes."""
        return "This is the content of the static text resource."

    @mcp.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """An image that never changes."""
        return base64.b64decode(IMAGE_PNG_BASE64)

    @mcp.resource("test://template/{id}/data", mime_type="application/json")
    def template_data(id: str) -> str:  # noqa: A002 - the name is the template's
        """One resource for every id."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @mcp.resource("test://watched-resource", mime_type="text/plain")
    def watched_resource() -> str:
        """What a client may subscribe to; `touch_watched_resource` announces an update of it."""
        return "Watched resource content"


def _add_completion(mcp: MCPServer) -> None:
    # The SDK's decorator has no annotations.
    @mcp.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        """Suggest cities for the prompt with arguments, and nothing elsewhere."""
        values: list[str] = []
        if isinstance(ref, PromptReference) and ref.name == "test_prompt_with_arguments":
            typed = argument.value.casefold()
            values = [city for city in CITIES if city.casefold().startswith(typed)]
        return Completion(values=values, total=len(values), has_more=False)
