// What the backend is asked. A failure is an Error whose message is the backend's own sentence.

export class ApiError extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

async function get(path, signal) {
  let response;
  try {
    response = await fetch(`/api/${path}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the trace backend does not answer; is it still running?", 0, {});
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(body.error ?? `the backend answered ${response.status}`, response.status, body);
  return body;
}

export const listTraces = (search, signal) => get(`traces?${search}`, signal);
export const listSessions = (search, signal) => get(`sessions?${search}`, signal);
export const getTrace = (id, signal) => get(`traces/${encodeURIComponent(id)}`, signal);
export const getOtlp = (id) => get(`traces/${encodeURIComponent(id)}/otlp`);
export const getSpan = (id, span, signal) => get(`traces/${encodeURIComponent(id)}/spans/${encodeURIComponent(span)}`, signal);
export const getValues = () => get("values");
export const getStatus = () => get("status");

const shown = document.getElementById("live");

function say(words, kind) {
  shown.textContent = words;
  shown.className = `live ${kind}`;
}

/**
 * Watch traces as they come. Returns a function that ends it.
 *
 * A page that nobody sees watches nothing: a browser has few connections for one server, and each
 * page would hold one.
 */
export function watch(search, onTrace, onReload) {
  let source = null;
  let missed = false;
  const open = () => {
    source = new EventSource(`/api/tail?${search}`);
    source.addEventListener("open", () => {
      say("live", "on");
      if (missed) onReload();
      missed = false;
    });
    source.addEventListener("error", () => {
      missed = true;
      say("not connected", "off");
    });
    source.addEventListener("trace", (event) => onTrace(JSON.parse(event.data)));
    source.addEventListener("lost", () => onReload());
  };
  const close = () => {
    source?.close();
    source = null;
  };
  const onVisibility = () => {
    if (document.hidden) {
      close();
      missed = true;
    } else if (!source) open();
  };
  document.addEventListener("visibilitychange", onVisibility);
  if (!document.hidden) open();
  return () => {
    document.removeEventListener("visibilitychange", onVisibility);
    close();
  };
}
