// Which view the address shows: #/ and #/?..., #/sessions, #/session/DIGEST, #/trace/ID and
// #/trace/ID?span=ID.

import { getValues } from "./api.js";
import { ListView } from "./list.js";
import { know } from "./services.js";
import { SessionsView } from "./sessions.js";
import { TraceView } from "./trace.js";

const view = document.getElementById("view");
let current = null;
let list = "#/";

function go(hash) {
  if (hash === "#/" && !location.hash.startsWith("#/?") && !location.hash.startsWith("#/session")) location.hash = list;
  else if (location.hash === hash) route();
  else location.hash = hash;
}

function route() {
  current?.hide();
  const [path, query = ""] = location.hash.slice(1).split("?", 2);
  const search = new URLSearchParams(query);
  const [, kind, id] = path.split("/");
  if (kind === "trace" && id) current = new TraceView(decode(id), search.get("span") ?? "", go);
  else {
    list = location.hash || "#/";
    current = kind === "sessions" ? new SessionsView(go) : new ListView(search, kind === "session" && id ? decode(id) : "", go);
  }
  const place = kind === "sessions" || kind === "session" ? "#/sessions" : "#/";
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.getAttribute("href") === place) link.setAttribute("aria-current", kind === "session" || kind === "trace" ? "true" : "page");
    else link.removeAttribute("aria-current");
  }
  current.show(view);
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

addEventListener("hashchange", route);
document.body.addEventListener("keydown", (event) => {
  if (event.target === document.body) current?.rows.onKey(event);
});
// The services that are known get their colours first, so that they are the same on every view.
getValues().then((values) => know(values.service)).catch(() => {}).then(route);
