"""A server of both eras that has what the conformance suite calls: ``python reference.py http`` on
a free port, which it prints; else at the standard streams, with ``modern`` in that era only."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.message import SessionMessage
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged
from mcp_types.jsonrpc import ErrorData, JSONRPCError

BUS = InMemorySubscriptionBus()

PNG = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmM"
       "IQAAAABJRU5ErkJggg==")  # fmt: skip
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
PRIMITIVES = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_TITLED = [{"const": one, "title": one.title()} for one in ("low", "medium", "high")]
CHOICES = {
    "untitledSingle": {"type": "string", "enum": ["active", "inactive"]},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["read", "write"]}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}


def form(message: str, properties: dict[str, Any]) -> types.ElicitRequest:
    schema = {"type": "object", "properties": properties, "required": []}
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=schema)
    )


NAME = form("What is your name?", {"name": {"type": "string"}})
SAMPLE = types.CreateMessageRequest(params=types.CreateMessageRequestParams(
    messages=[types.SamplingMessage(
        role="user", content=types.TextContent(type="text", text="Capital of France?"))],
    max_tokens=100,
))  # fmt: skip
ROOTS = types.ListRootsRequest()

ASKS: dict[str, dict[str, Any]] = {
    "elicitation": {"user_name": NAME},
    "sampling": {"capital_question": SAMPLE},
    "list_roots": {"client_roots": ROOTS},
    "request_state": {"confirm": form("Confirm?", {"ok": {"type": "boolean"}})},
    "tampered_state": {"confirm": form("Confirm?", {"ok": {"type": "boolean"}})},
    "multiple_inputs": {"user_name": NAME, "greeting": SAMPLE, "client_roots": ROOTS},
    "multi_round": {"step1": NAME},
}
PREFIX = "test_input_required_result_"
TEXTS = {
    "test_simple_text": "This is a simple text response for testing.",
    "test_reconnection": "Reconnection test completed successfully",
}
PLAIN = [
    *TEXTS, "test_image_content", "test_audio_content", "test_embedded_resource",
    "test_multiple_content_types", "test_tool_with_logging", "test_tool_with_progress",
    "test_error_handling", "test_elicitation_sep1034_defaults", "test_elicitation_sep1330_enums",
    "test_missing_capability", "test_streaming_elicitation", "test_logging_tool",
    "test_trigger_tool_change", "test_trigger_prompt_change",
    *(PREFIX + one for one in (*ASKS, "capabilities")),
]  # fmt: skip
SCHEMAS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(PLAIN, NOTHING),
    "test_sampling": {"type": "object", "properties": {"prompt": {"type": "string"}}},
    "test_elicitation": {"type": "object", "properties": {"message": {"type": "string"}}},
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object",
                              "properties": {"street": {"type": "string"},
                                             "city": {"type": "string"}}}},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
                       "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                       "phone": {"type": "string"}, "email": {"type": "string"}},
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]}, "else": {"required": ["email"]},
        "additionalProperties": False,
    },
    "test_headers": {"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "query": {"type": "string"}}},
}  # fmt: skip


def text(said: str, **more: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=said)], **more)


def resource(uri: str, said: str, mime: str = "text/plain") -> types.EmbeddedResource:
    content = types.TextResourceContents(uri=uri, mime_type=mime, text=said)
    return types.EmbeddedResource(type="resource", resource=content)


async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[
        types.Tool(name=name, description=f"The tool {name}", input_schema=schema)
        for name, schema in SCHEMAS.items()
    ])  # fmt: skip


async def call_tool(ctx: Any, params: Any) -> Any:
    name, args = params.name, params.arguments or {}
    image = types.ImageContent(type="image", data=PNG, mime_type="image/png")
    if name in TEXTS:
        return text(TEXTS[name])
    if name.startswith(PREFIX):
        return asked(ctx, name.removeprefix(PREFIX), params)
    match name:
        case "test_image_content":
            return types.CallToolResult(content=[image])
        case "test_audio_content":
            sound = types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")
            return types.CallToolResult(content=[sound])
        case "test_embedded_resource":
            return types.CallToolResult(
                content=[
                    resource("test://embedded-resource", "This is an embedded resource content.")
                ]
            )
        case "test_multiple_content_types":
            return types.CallToolResult(content=[
                types.TextContent(type="text", text="Multiple content types test:"), image,
                resource("test://mixed-content-resource", '{"test":"data","value":123}',
                         "application/json")])  # fmt: skip
        case "test_tool_with_logging":
            for said in ("started", "processing data", "completed"):
                await ctx.session.send_log_message(
                    "info", f"Tool {said}", related_request_id=ctx.request_id
                )
                await asyncio.sleep(0.02)
            return text("logged")
        case "test_tool_with_progress":
            for done in (0, 50, 100):
                await ctx.session.report_progress(done, 100, f"{done} of 100")
                await asyncio.sleep(0.02)
            return text("made progress")
        case "test_missing_capability" if ctx.session.client_capabilities.sampling is None:
            from mcp.shared.exceptions import MCPError

            raise MCPError(
                -32021,
                "Missing required client capability",
                {"requiredCapabilities": {"sampling": {}}},
            )
        case "test_streaming_elicitation":
            await ctx.session.report_progress(1, 2, "asking")
            if not params.input_responses:
                return types.InputRequiredResult(input_requests={"user_name": NAME})
            return text("asked")
        case "test_logging_tool":
            await ctx.session.send_log_message("info", "a line", related_request_id=ctx.request_id)
            return text("logged")
        case "test_trigger_tool_change" | "test_trigger_prompt_change":
            changed = ToolsListChanged() if "tool_c" in name else PromptsListChanged()
            await BUS.publish(changed)
            return text("changed")
        case "test_error_handling":
            return text("This tool intentionally returns an error for testing", is_error=True)
        case "test_sampling":
            found = await ctx.session.create_message(
                messages=[types.SamplingMessage(role="user", content=types.TextContent(
                    type="text", text=str(args.get("prompt"))))],
                max_tokens=100, related_request_id=ctx.request_id)  # fmt: skip
            return text(f"LLM response: {getattr(found.content, 'text', '')}")
        case "test_elicitation" | "test_elicitation_sep1034_defaults" \
                | "test_elicitation_sep1330_enums":  # fmt: skip
            wanted = {
                "test_elicitation": {"response": {"type": "string"}},
                "test_elicitation_sep1034_defaults": PRIMITIVES,
            }.get(name, CHOICES)
            found = await ctx.session.elicit_form(
                str(args.get("message", "Please say")),
                {"type": "object", "properties": wanted, "required": []},
                ctx.request_id,
            )
            return text(f"User response: action={found.action}, content={found.content}")
        case _:
            return text(f"{name} {args}")


def asked(ctx: Any, kind: str, params: Any) -> Any:
    given = params.input_responses or {}
    if kind == "capabilities":
        can = ctx.session.client_capabilities
        requests: dict[str, Any] = {"s": SAMPLE} if can.sampling is not None else {}
        requests |= {"e": NAME} if can.elicitation is not None else {}
        if not given and requests:
            return types.InputRequiredResult(input_requests=requests)
        return text("as you can")
    wanted = ASKS[kind]
    state = params.request_state
    if kind == "tampered_state" and state not in (None, "state-1"):
        from mcp.shared.exceptions import MCPError

        raise MCPError(-32602, "requestState was tampered with")
    if kind == "multi_round" and state == "round-1" and "step1" in given:
        more = form("Your favourite colour?", {"color": {"type": "string"}})
        return types.InputRequiredResult(input_requests={"step2": more}, request_state="round-2")
    if kind == "multi_round" and state == "round-2" and "step2" in given:
        return text("both rounds done")
    fits = wanted.keys() <= given.keys() and kind != "multi_round"
    if fits and all(getattr(given[key], "action", "accept") == "accept" for key in wanted):
        state = "state-ok " if "state" in kind else ""
        return text(f"{state}{ {key: given[key].model_dump(mode='json') for key in wanted} }")
    named = {"multi_round": "round-1", "request_state": "state-1", "tampered_state": "state-1",
             "multiple_inputs": "many"}.get(kind)  # fmt: skip
    return types.InputRequiredResult(input_requests=wanted, request_state=named)


async def list_resources(_: Any, __: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=[
        types.Resource(uri=f"test://{one}", name=one, mime_type="text/plain")
        for one in ("static-text", "static-binary", "watched-resource")
    ])  # fmt: skip


async def list_templates(_: Any, __: Any) -> types.ListResourceTemplatesResult:
    return types.ListResourceTemplatesResult(resource_templates=[
        types.ResourceTemplate(uri_template="test://template/{id}/data", name="template")
    ])  # fmt: skip


async def read_resource(_: Any, params: Any) -> types.ReadResourceResult:
    uri = str(params.uri)
    if uri == "test://static-binary":
        content: Any = types.BlobResourceContents(
            uri=uri, mime_type="image/png", blob=base64.b64encode(b"png").decode()
        )
    elif uri.startswith(("test://static-text", "test://template/", "test://watched")):
        said = '{"id":"123","templateTest":true,"data":"Data for ID: 123"}'
        content = types.TextResourceContents(uri=uri, mime_type="application/json", text=said)
    else:
        from mcp.shared.exceptions import MCPError

        raise MCPError(-32602, f"Resource not found: {uri}", {"uri": uri})
    return types.ReadResourceResult(contents=[content])


async def nothing(_: Any, __: Any) -> types.EmptyResult:
    return types.EmptyResult()


async def list_prompts(_: Any, __: Any) -> types.ListPromptsResult:
    def prompt(name: str, *args: str) -> types.Prompt:
        many = [types.PromptArgument(name=one, description=one, required=True) for one in args]
        return types.Prompt(name=name, description=f"The prompt {name}", arguments=many)

    return types.ListPromptsResult(prompts=[
        prompt("test_simple_prompt"), prompt("test_prompt_with_arguments", "arg1", "arg2"),
        prompt("test_prompt_with_embedded_resource", "resourceUri"),
        prompt("test_prompt_with_image"), prompt("test_input_required_result_prompt"),
    ])  # fmt: skip


async def get_prompt(_: Any, params: Any) -> Any:
    args = params.arguments or {}

    def says(content: Any) -> types.GetPromptResult:
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content)])

    match params.name:
        case "test_input_required_result_prompt":
            if not params.input_responses:
                return types.InputRequiredResult(input_requests={"user_context": NAME})
            return says(types.TextContent(type="text", text="with context"))
        case "test_prompt_with_embedded_resource":
            return says(resource(args["resourceUri"], "Embedded resource content for testing."))
        case "test_prompt_with_image":
            return says(types.ImageContent(type="image", data=PNG, mime_type="image/png"))
        case _:
            return says(types.TextContent(type="text", text=f"Prompt: {args}"))


async def complete(_: Any, __: Any) -> types.CompleteResult:
    return types.CompleteResult(completion=types.Completion(values=["paris", "park"], total=2))


def server() -> Server[Any]:
    old: dict[str, Any] = {"on_set_logging_level": nothing}  # of the era before
    return Server(
        "reference", **old, version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool,
        on_list_resources=list_resources, on_list_resource_templates=list_templates,
        on_read_resource=read_resource, on_subscribe_resource=nothing,
        on_unsubscribe_resource=nothing, on_list_prompts=list_prompts, on_get_prompt=get_prompt,
        on_completion=complete,
        on_subscriptions_listen=ListenHandler(BUS),
    )  # fmt: skip


async def serve_streams(*, modern: bool) -> None:
    """``modern``: as one that never heard of the era before."""
    made = server()
    async with stdio_server() as (read, write), anyio.create_task_group() as tasks:
        send, receive = anyio.create_memory_object_stream[Any](100)

        async def pass_on() -> None:
            async with send:
                async for one in read:
                    message: Any = getattr(one, "message", None)
                    if modern and getattr(message, "method", "") == "initialize":
                        error = ErrorData(code=-32601, message="Method not found: initialize")
                        no = JSONRPCError(jsonrpc="2.0", id=message.id, error=error)
                        await write.send(SessionMessage(no))
                    else:
                        await send.send(one)

        tasks.start_soon(pass_on)
        await made.run(receive, write, made.create_initialization_options())


if __name__ == "__main__":
    if "http" in sys.argv:
        import socket

        import uvicorn

        door = socket.create_server(("127.0.0.1", 0))
        print(f"listening: http://127.0.0.1:{door.getsockname()[1]}/mcp", flush=True)
        uvicorn.run(server().streamable_http_app(), fd=door.fileno(), log_level="critical")
    else:
        asyncio.run(serve_streams(modern="modern" in sys.argv))
