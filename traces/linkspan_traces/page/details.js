// All that one span says, in a panel beside the waterfall.

import { getSpan } from "./api.js";
import { copy, el, fill } from "./dom.js";
import { clock, duration } from "./format.js";
import { colour } from "./services.js";

const GAPS = {
  network: "on the network, or in line before the server",
  queue: "in the queue",
  handover: "between the two processes: the caller's own work, the network, and the line before this one",
};
const KINDS = { INTERNAL: "internal", SERVER: "server", CLIENT: "client", PRODUCER: "producer", CONSUMER: "consumer", UNSPECIFIED: "no kind" };

export class Details {
  constructor(traceId, onClose, go) {
    this.traceId = traceId;
    this.onClose = onClose;
    this.go = go;
    this.asking = null;
    this.element = el("aside", { class: "panel", "aria-label": "span", hidden: true });
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        this.close();
      }
    });
  }

  get open() {
    return !this.element.hidden;
  }

  close() {
    this.asking?.abort();
    this.element.hidden = true;
    this.onClose();
  }

  /** Show a row of the waterfall. */
  async show(row, problem, { focus }) {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    this.element.hidden = false;
    this.heading = el("h2", { tabindex: "-1" }, row.name || "(no name)");
    fill(
      this.element,
      el("header", {}, this.heading, el("button", { type: "button", "aria-label": "close", onclick: () => this.close() }, "✕")),
      el("div", { class: "svcs" }, el("span", { class: `svc ${colour(row.service)}` }, row.service || "(no service)"), el("span", {}, KINDS[row.kind])),
      ...this.drawSayings(row, problem), ...this.drawTimes(row));
    this.element.scrollTop = 0;
    if (focus) this.heading.focus({ preventScroll: true });
    try {
      const span = await getSpan(this.traceId, row.span_id, asking.signal);
      this.element.append(...this.drawAll(span).filter(Boolean));
      if (span.status === "ERROR" && (span.status_message || !row.failure)) {
        this.element.querySelector(".svcs").after(el("p", { class: "say bad" }, span.status_message || "Its status is ERROR."));
      }
    } catch (error) {
      if (error.name !== "AbortError") this.element.append(el("p", { class: "say bad" }, error.message));
    }
  }

  drawSayings(row, problem) {
    const say = (kind, words) => el("p", { class: `say ${kind}` }, words);
    const sayings = [];
    if (row.failure) sayings.push(say(row.status === "error" ? "bad" : "warn", `It failed: ${row.failure}.`));
    if (problem) sayings.push(say(problem.code === "outside" ? "warn" : "bad", `Does not stitch: ${problem.text}.`));
    if (row.skew) {
      const why = row.skew.across ? "the clocks of the two processes disagree" : "a clock was set";
      sayings.push(say("warn", `It begins ${duration(row.skew.nanos)} before its parent: ${why}.`));
    }
    if (row.backwards_nanos) sayings.push(say("warn", `It ends ${duration(row.backwards_nanos)} before it begins: a clock was set.`));
    if (row.open) sayings.push(say("", "It has begun, and is not known to have ended."));
    if (row.gap) {
      const { kind, before, after } = row.gap;
      sayings.push(say("", `${duration(before)} before it ${GAPS[kind]}${after ? `, and ${duration(after)} on the way back` : ""}.`));
    }
    return sayings;
  }

  drawTimes(row) {
    const lines = [["took", row.open ? `${duration(row.duration_nanos)} so far` : duration(row.duration_nanos)], ["begins", `${duration(row.offset_nanos)} into the trace`]];
    if (row.children) lines.push(["of its own", duration(row.own_nanos)]);
    if (row.critical) lines.push(["critical path", `${duration(row.critical_nanos)} waited for`]);
    return [list(lines, false)];
  }

  drawAll(span) {
    const parts = [];
    if (span.attributes.length || span.dropped.attributes) {
      parts.push(el("h3", {}, "attributes"), attributes(span.attributes), dropped(span, "attributes"));
    }
    if (span.events.length) {
      parts.push(el("h3", {}, "events"), ...span.events.map((event) => el("details", { open: event.name === "exception" },
        el("summary", {}, `${event.name || "(no name)"} `, el("span", { class: "when" }, `at ${duration(Math.max(0, event.offset_nanos))}`)),
        attributes(event.attributes))), dropped(span, "events"));
    }
    if (span.links.length) {
      parts.push(el("h3", {}, "links"), el("ul", {}, span.links.map((link) => el("li", {},
        link.known ? el("a", { href: `#/trace/${link.trace_id}?span=${link.span_id}` }, `span ${link.span_id} of trace ${link.trace_id.slice(0, 8)}`)
          : [`span ${link.span_id} of trace ${link.trace_id}, which is not here`],
        link.attributes.length ? attributes(link.attributes) : null))), dropped(span, "links"));
    }
    const scope = [span.scope.name, span.scope.version].filter(Boolean).join(" ");
    parts.push(el("h3", {}, "more"), el("details", {}, el("summary", {}, "resource"), attributes(span.resource)),
      el("details", {}, el("summary", {}, "identity"), list([["span", span.span_id], ["parent", span.parent_id || "none"], ["trace", span.trace_id],
        ["began", clock(span.start_nanos)], ["made by", scope || "-"], ...(span.trace_state ? [["tracestate", span.trace_state]] : [])], true),
      el("button", { type: "button", onclick: () => copy(span.span_id, "span id") }, "Copy span id")));
    return parts;
  }
}

function list(lines, mono) {
  return el("dl", {}, lines.flatMap(([key, value]) => [el("dt", {}, key), el("dd", { class: mono ? "mono" : "" }, value)]));
}

function attributes(pairs) {
  if (!pairs.length) return el("p", { class: "soft" }, "none");
  return el("dl", {}, pairs.flatMap(({ key, type, text }) => [el("dt", { class: "mono" }, key), el("dd", { class: "mono", title: type }, text)]));
}

function dropped(span, what) {
  const lost = span.dropped[what];
  return lost ? el("p", { class: "say warn" }, `${lost} ${what} were dropped by the sender's limits.`) : null;
}
