// The tools served by the official TypeScript SDK: `node typescript.mjs json` or `... sse`.
//
// As its examples do it: a server object and a transport for each session, in memory; but on Node's
// own HTTP server, without Express and without an event store. Prints a ready line; ends with its
// standard input. BENCH_TOOLS says how many tools there are in all.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

const TEXT_10K = "abcdefghij".repeat(1_000);
const TEXT_1M = "abcdefghij".repeat(100_000);
const PLAIN_TOOLS = 5;
const TOOLS = Math.max(PLAIN_TOOLS, Number(process.env.BENCH_TOOLS ?? 0));
const enableJsonResponse = process.argv[2] === "json";

/** The sessions of clients that listen. */
const audience = [];
/** The transport of each session. */
const sessions = new Map();

const text = (value) => ({ content: [{ type: "text", text: value }] });

// Made once: what describes tools does not belong to a session.
const ECHO = { description: "Return the text.", inputSchema: { text: z.string() } };
const TEN = { description: "Return ten thousand characters.", inputSchema: {} };
const MILLION = { description: "Return a million characters.", inputSchema: {} };
const JOIN = { description: "Have this session be told by broadcasts.", inputSchema: {} };
const BROADCAST = { description: "Notify all sessions that joined.", inputSchema: { uri: z.string() } };
const SEARCH = {
  query: z.string().describe("What to look for, in plain words."),
  limit: z.number().int().min(1).max(100).default(10).describe("How many results at most."),
  newest_first: z.boolean().default(false).describe("Whether to sort by age."),
  tags: z.array(z.string()).nullable().default(null).describe("Only what has one of these tags."),
};

function newServer() {
  const server = new McpServer(
    { name: "bench", version: "1.0.0" },
    { capabilities: { resources: {}, tools: {} } },
  );
  server.registerTool("echo", ECHO, async (given) => text(given.text));
  server.registerTool("text10k", TEN, async () => text(TEXT_10K));
  server.registerTool("text1m", MILLION, async () => text(TEXT_1M));
  for (let number = 0; number < TOOLS - PLAIN_TOOLS; number++) {
    const shown = String(number).padStart(2, "0");
    const description =
      `Search collection ${shown} for documents that match a query, with filters, and ` +
      "return the best matches with their titles, addresses and short excerpts.";
    const config = { description, inputSchema: SEARCH };
    server.registerTool(`search_${shown}`, config, async (given) => text(JSON.stringify(given)));
  }
  server.registerTool("join", JOIN, async () => text(String(audience.push(server))));
  server.registerTool("broadcast", BROADCAST, async ({ uri }) => {
    await Promise.all(audience.map((each) => each.server.sendResourceUpdated({ uri })));
    return text(String(audience.length));
  });
  return server;
}

async function transportFor(request) {
  const id = request.headers["mcp-session-id"];
  if (id !== undefined) {
    return sessions.get(id);
  }
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    enableJsonResponse,
    onsessioninitialized: (made) => sessions.set(made, transport),
  });
  transport.onclose = () => sessions.delete(transport.sessionId);
  await newServer().connect(transport);
  return transport;
}

const server = createServer(async (request, response) => {
  const transport = await transportFor(request);
  if (transport === undefined) {
    response.writeHead(404).end();
    return;
  }
  await transport.handleRequest(request, response);
});
server.keepAliveTimeout = 75_000;
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(`ready mcp=http://127.0.0.1:${server.address().port}/mcp`);
});
process.stdin.on("end", () => process.exit(0)).resume();
