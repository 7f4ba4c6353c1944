// The list of traces, newest first and live; and a session's, oldest first.

import { getStatus, getValues, listTraces, watch } from "./api.js";
import { el, narrow } from "./dom.js";
import { clock, compareNanos, count, duration } from "./format.js";
import { Rows } from "./rows.js";
import { colour, know } from "./services.js";

const PAGE = 200;
const STATES = { ok: "✓", warning: "!", error: "✕" };
const STATE_WORDS = { ok: "ok", warning: "something went wrong", error: "error" };
const STATUSES = [["", "any"], ["ok", "ok"], ["failed", "error or warning"], ["error", "error"],
  ["warning", "warning"], ["unstitched", "does not stitch"], ["open", "still open"]];
const FIELDS = ["trace", "session", "method", "tool", "service", "status", "min_ms", "max_ms"];
const SETTLE_MILLIS = 10_000;

/** What a trace is called: its method and tool where it has them, or else its first span. */
export function titleOf(trace) {
  return [trace.method, trace.tool].filter(Boolean).join(" ") || trace.name || "(no name)";
}

/** The badge that says that a trace does not stitch, or null. */
export function stitchBadge(trace) {
  if (trace.stitch === "whole") return null;
  const arriving = Date.now() - trace.received_millis < SETTLE_MILLIS;
  if (arriving) return el("span", { class: "badge soft", title: "spans of other processes may yet come" }, "arriving");
  return trace.stitch === "outside" ? el("span", { class: "badge warn", title: "its caller's span has not come" }, "caller missing")
    : el("span", { class: "badge bad", title: "a parent is missing, or there is a root too many" }, "does not stitch");
}

export class ListView {
  /** @param search URLSearchParams, as the API has them. @param session The session to show, or "". */
  constructor(search, session, go) {
    this.session = session;
    this.go = go;
    this.search = new URLSearchParams(search);
    if (session) {
      this.search.set("session", session);
      this.search.set("order", "oldest");
    }
    this.forget();
    this.waiting = [];
    this.cursor = "";
    this.loading = null;
    this.rows = new Rows({
      role: "grid",
      label: session ? `requests of session ${session}` : "traces",
      height: () => (narrow.matches ? 56 : 38),
      draw: (index) => this.drawRow(this.traces[index]),
      open: (index) => this.go(`#/trace/${this.traces[index].trace_id}`),
      key: (event) => this.onKey(event),
      end: () => this.more(),
    });
    this.empty = el("div", { class: "note", hidden: true });
    this.element = el("div", { class: "listview", role: "region", "aria-label": "list" });
    this.element.append(session ? this.drawSessionHead() : this.drawSearch(), this.drawHead(), this.empty, this.rows.element, this.drawKeys());
  }

  show(into) {
    into.replaceChildren(this.element);
    document.title = this.session ? `Session ${this.session} · Linkspan` : "Traces · Linkspan";
    this.load();
    this.stop = watch(this.search, (trace) => this.arrived(trace), () => this.load());
    // What was arriving has arrived or does not stitch, and says so.
    this.ticking = setInterval(() => {
      this.rows.refresh();
      this.tellTotals();
    }, 5000);
    this.tellTotals();
    if (!narrow.matches) this.rows.element.focus({ preventScroll: true });
  }

  hide() {
    this.hidden = true;
    this.stop?.();
    this.loading?.abort();
    clearInterval(this.ticking);
    this.rows.destroy();
  }

  async load() {
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    this.search.delete("cursor");
    this.search.set("limit", String(PAGE));
    try {
      const page = await listTraces(this.search, loading.signal);
      this.forget();
      this.append(page.traces);
      this.cursor = page.next_cursor;
      this.loading = null;
      this.changed();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.loading = null;
      this.forget();
      this.cursor = "";
      this.changed();
      this.empty.className = "note bad";
      this.empty.replaceChildren(error.message);
    }
  }

  async more() {
    if (!this.cursor || this.loading) return;
    const loading = (this.loading = new AbortController());
    const search = new URLSearchParams(this.search);
    search.set("cursor", this.cursor);
    try {
      const page = await listTraces(search, loading.signal);
      this.append(page.traces);
      this.cursor = page.next_cursor;
      this.loading = null;
      this.changed();
    } catch {
      if (this.loading === loading) this.loading = null; // the next look at the end tries again
    }
  }

  /** Note a trace that came or changed; of all that come within a frame, the list is drawn once. */
  arrived(trace) {
    this.waiting.push(trace);
    if (this.waiting.length === 1) requestAnimationFrame(() => this.takeIn(this.waiting.splice(0)));
  }

  /** Put traces to their places, without moving what is looked at. */
  takeIn(traces) {
    if (this.hidden) return;
    const chosen = this.traces[this.rows.active]?.trace_id;
    const above = traces.filter((trace) => this.place(trace)).length;
    this.changed();
    this.rows.element.scrollTop += above * this.rows.options.height();
    if (chosen) this.rows.activate(this.traces.findIndex((each) => each.trace_id === chosen), false);
  }

  /** Put one to its place; returns whether it is a new one above what is looked at. */
  place(trace) {
    know(trace.services);
    const before = this.known.get(trace.trace_id);
    const at = before ? this.placeOf(before) : -1;
    if (at >= 0) this.traces.splice(at, 1);
    const place = this.placeOf(trace);
    // It may belong to what has not been loaded.
    if (place === this.traces.length && this.cursor && at < 0) return false;
    this.traces.splice(place, 0, trace);
    this.known.set(trace.trace_id, trace);
    const height = this.rows.options.height();
    const scroller = this.rows.element;
    return at < 0 && scroller.scrollTop > 0 && place * height < scroller.scrollTop;
  }

  /** Where a trace is, or belongs, in the order that the backend has; found by halving, as there may be many. */
  placeOf(trace) {
    const sign = this.session ? -1 : 1;
    let low = 0;
    let high = this.traces.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const each = this.traces[middle];
      const order = compareNanos(trace.start_nanos, each.start_nanos) || (trace.trace_id < each.trace_id ? -1 : trace.trace_id > each.trace_id ? 1 : 0);
      if (sign * order < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Take in a page of the list, below what is there. */
  append(traces) {
    for (const trace of traces) {
      if (this.known.has(trace.trace_id)) continue;
      know(trace.services);
      this.known.set(trace.trace_id, trace);
      this.traces.push(trace);
    }
  }

  forget() {
    this.traces = [];
    this.known = new Map();
  }

  changed() {
    this.rows.setCount(this.traces.length);
    if (this.rows.active < 0 && document.activeElement === this.rows.element) this.rows.activate(0);
    const none = this.traces.length === 0;
    this.rows.element.hidden = none;
    this.empty.hidden = !none;
    if (none) {
      const searched = !this.session && FIELDS.some((name) => this.search.get(name));
      this.empty.className = "note";
      this.empty.replaceChildren(...(searched || this.session ? ["No trace is like that."] : welcome()));
    }
    if (this.session) {
      const words = this.cursor ? `${this.traces.length} requests and more` : count(this.traces.length, "request");
      this.summary.textContent = `${words}, the oldest first`;
    }
  }

  async tellTotals() {
    const status = await getStatus().catch(() => null);
    if (status) {
      document.getElementById("totals").textContent = `${count(status.traces, "trace")}, ${count(status.spans, "span")}`;
    }
  }

  onKey(event) {
    if (event.key === "/" && this.first) {
      this.first.focus();
      return true;
    }
    if (event.key === "Escape" && this.session) {
      this.go("#/sessions");
      return true;
    }
    return false;
  }

  drawRow(trace) {
    const services = trace.services.slice(0, 6).map((name) => el("span", { class: `svc ${colour(name)}` }, name));
    return el("div", { role: "row", class: "cols" },
      el("span", { role: "gridcell", class: `state ${trace.status}`, title: STATE_WORDS[trace.status] },
        el("span", { "aria-hidden": "true" }, STATES[trace.status]),
        el("span", { class: "skip" }, STATE_WORDS[trace.status])),
      el("span", { role: "gridcell", class: "title" },
        el("a", { href: `#/trace/${trace.trace_id}`, tabindex: "-1" }, titleOf(trace)),
        trace.method ? el("span", { class: "in" }, trace.name) : null,
        trace.open_spans ? el("span", { class: "badge soft" }, "open") : null,
        stitchBadge(trace)),
      el("span", { role: "gridcell", class: "svcs" }, services),
      el("span", { role: "gridcell", class: "num" }, duration(trace.duration_nanos)),
      el("span", { role: "gridcell", class: "num" }, String(trace.spans)),
      el("span", { role: "gridcell", class: "when" }, clock(trace.start_nanos)));
  }

  drawHead() {
    const names = ["", this.session ? "request" : "trace", "services", "took", "spans", "began"];
    const classes = ["", "", "", "num", "num", "when"];
    return el("div", { class: "cols listhead", "aria-hidden": "true" }, names.map((name, place) => el("span", { class: classes[place] }, name)));
  }

  drawKeys() {
    return el("div", { class: "keys" }, el("kbd", {}, "↑"), " ", el("kbd", {}, "↓"), " move · ", el("kbd", {}, "Enter"), " open",
      this.session ? [" · ", el("kbd", {}, "Esc"), " all sessions"] : [" · ", el("kbd", {}, "/"), " search"]);
  }

  drawSessionHead() {
    this.summary = el("span", {});
    return el("div", { class: "head" }, el("a", { href: "#/sessions" }, "← all sessions"), el("h1", {}, `Session ${this.session}`),
      el("div", { class: "sub" }, this.summary, el("span", {}, "named by the digest of its id, as in logs and linkspan sessions show")));
  }

  drawSearch() {
    const input = (name, label, type, more, attributes = {}) => {
      const field = el("input", { name, type, value: this.search.get(name) ?? "", autocomplete: "off", spellcheck: "false", ...attributes });
      return el("label", { class: more }, label, field);
    };
    const select = el("select", { name: "status" }, STATUSES.map(([value, words]) => el("option", { value, selected: value === (this.search.get("status") ?? "") }, words)));
    const lists = ["service", "method", "tool"].map((name) => el("datalist", { id: `known-${name}` }));
    const fold = el("button", { type: "button", class: "fold", "aria-expanded": "false" }, "More filters");
    const form = el("form", { class: "search", role: "search" },
      input("trace", "trace id", "search", "wide", { placeholder: "or how it begins" }),
      el("label", {}, "status", select),
      input("session", "session", "search", "more", { placeholder: "id or digest" }),
      input("method", "method", "search", "more", { list: "known-method" }),
      input("tool", "tool", "search", "more", { list: "known-tool" }),
      input("service", "service", "search", "more", { list: "known-service" }),
      input("min_ms", "took at least, ms", "number", "more short", { min: "0", step: "any" }),
      input("max_ms", "at most, ms", "number", "more short", { min: "0", step: "any" }),
      fold, el("button", { type: "button", class: "more", onclick: () => this.go("#/") }, "Clear"), lists);
    this.first = form.querySelector("input");
    fold.addEventListener("click", () => {
      fold.setAttribute("aria-expanded", String(form.classList.toggle("open")));
    });
    let waiting = 0;
    const apply = () => {
      clearTimeout(waiting);
      const search = new URLSearchParams();
      for (const name of FIELDS) {
        const value = form.elements[name].value.trim();
        if (value) search.set(name, value);
      }
      this.apply(search);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      apply();
    });
    form.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(apply, 250);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        this.rows.element.focus();
      }
    });
    getValues().then((values) => {
      know(values.service);
      for (const list of lists) list.append(...values[list.id.slice(6)].map((value) => el("option", { value })));
    }).catch(() => {});
    return form;
  }

  /** Search anew without leaving the form. */
  apply(search) {
    if (search.toString() === new URLSearchParams([...this.search].filter(([name]) => FIELDS.includes(name))).toString()) return;
    this.search = new URLSearchParams(search);
    history.replaceState(null, "", search.size ? `#/?${search}` : "#/");
    this.rows.element.scrollTop = 0;
    this.rows.active = -1;
    this.load();
    this.stop?.();
    this.stop = watch(this.search, (trace) => this.arrived(trace), () => this.load());
  }
}

function welcome() {
  return [
    el("p", {}, "No traces yet. Call a tool, and the request shows up here."),
    el("p", {}, "Any OpenTelemetry program can send its spans here:"),
    el("pre", {}, el("code", {}, `OTEL_EXPORTER_OTLP_ENDPOINT=${location.origin}`)),
  ];
}
