// A stock client of the official TypeScript SDK: `node client.mjs URL`.
//
// Opens a session, lists the tools, calls `add` and `echo` of the everything example, ends the
// session with DELETE and prints what it saw as one line of JSON on stdout. Anything that goes wrong
// is one line on stderr and exit code 1.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const ECHO_TEXT = "grüße, 世界";

/** The text of a tool's first content block; throws where the tool reported an error. */
function textOf(result) {
  const text = result.content?.[0]?.text;
  if (result.isError || text === undefined) {
    throw new Error(`the tool failed: ${JSON.stringify(result)}`);
  }
  return text;
}

async function main(url) {
  const client = new Client({ name: "linkspan-peer-typescript", version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(new URL(url));
  try {
    await client.connect(transport);
    const { tools } = await client.listTools();
    const sum = await client.callTool({ name: "add", arguments: { a: 2, b: 3 } });
    const echo = await client.callTool({ name: "echo", arguments: { text: ECHO_TEXT } });
    const seen = {
      serverInfo: client.getServerVersion(),
      protocolVersion: transport.protocolVersion,
      tools: tools.map((tool) => tool.name),
      add: Number(textOf(sum)),
      echo: textOf(echo),
    };
    await transport.terminateSession();
    return seen;
  } finally {
    await client.close();
  }
}

try {
  if (process.argv.length !== 3) throw new Error("usage: node client.mjs URL");
  console.log(JSON.stringify(await main(process.argv[2])));
} catch (error) {
  const cause = error.cause ? ` (${error.cause.message || error.cause.code})` : "";
  console.error(`${error.message}${cause}`.replaceAll("\n", " "));
  process.exitCode = 1;
}
