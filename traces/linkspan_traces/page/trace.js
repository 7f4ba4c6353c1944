// One trace as a waterfall. What is drawn was worked out by the backend; see analysis/waterfall.py.

import { getOtlp, getTrace, watch } from "./api.js";
import { Details } from "./details.js";
import { copy, el, fill, narrow, toast } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { stitchBadge, titleOf } from "./list.js";
import { Rows } from "./rows.js";
import { colour, know } from "./services.js";

const MAX_INDENT = 14;
const TICKS = 5;

export class TraceView {
  constructor(traceId, wanted, go) {
    this.traceId = traceId;
    this.wanted = wanted;
    this.go = go;
    this.trace = null;
    this.collapsed = new Set();
    this.visible = [];
    this.window = null;
    this.rows = new Rows({
      role: "treegrid",
      label: "spans",
      height: () => (narrow.matches ? 50 : 28),
      draw: (index) => this.drawRow(this.visible[index]),
      open: (index) => this.openSpan(index, true),
      key: (event, index) => this.onKey(event, index),
    });
    this.details = new Details(traceId, () => this.rows.element.focus({ preventScroll: true }), go);
    this.head = el("div", { class: "head" });
    this.problems = el("ul", { class: "problems", role: "alert", hidden: true });
    this.legend = el("div", { class: "legend" });
    this.ticks = el("div", { class: "ticks", "aria-hidden": "true" });
    this.fall = el("div", { class: "fall" }, el("div", { class: "axis" }, el("span", {}, "span"), this.ticks), this.rows.element);
    this.split = el("div", { class: "split" }, this.fall, this.details.element);
    this.keys = el("div", { class: "keys" }, el("kbd", {}, "↑"), " ", el("kbd", {}, "↓"), " move · ", el("kbd", {}, "←"), " ", el("kbd", {}, "→"),
      " fold · ", el("kbd", {}, "Enter"), " details · ", el("kbd", {}, "Z"), " zoom · ", el("kbd", {}, "Esc"), " back");
  }

  async show(into) {
    this.into = into;
    into.replaceChildren(el("p", { class: "note" }, "Loading …"));
    await this.load(true);
    const search = new URLSearchParams({ trace: this.trace?.trace_id ?? this.traceId });
    this.stop = watch(search, () => this.load(false), () => this.load(false));
    if (this.hidden) this.stop();
  }

  hide() {
    this.hidden = true;
    this.stop?.();
    this.loading?.abort();
    this.rows.destroy();
    clearTimeout(this.settling);
  }

  async load(first) {
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    try {
      this.trace = await getTrace(this.traceId, loading.signal);
    } catch (error) {
      if (error.name !== "AbortError" && first) this.drawError(error);
      return;
    }
    if (this.hidden) return;
    this.traceId = this.details.traceId = this.trace.trace_id;
    know(this.trace.services);
    this.drawHead();
    this.reveal();
    clearTimeout(this.settling);
    if (this.trace.arriving) this.settling = setTimeout(() => this.load(false), 5000);
    if (!first) return;
    this.into.replaceChildren(this.head, this.problems, this.legend, this.split, this.keys);
    document.title = `${titleOf(this.trace)} · Linkspan`;
    this.rows.element.focus({ preventScroll: true });
    const at = this.visible.findIndex((row) => row.span_id === this.wanted);
    this.rows.activate(Math.max(0, at));
    if (at >= 0) this.openSpan(at, false);
  }

  /** Work out which rows are to be seen: those below a folded one are not. */
  reveal() {
    const active = this.visible[this.rows.active]?.span_id;
    this.visible = [];
    let hiddenBelow = Infinity;
    for (const row of this.trace.spans) {
      if (row.depth > hiddenBelow) continue;
      hiddenBelow = this.collapsed.has(row.span_id) ? row.depth : Infinity;
      this.visible.push(row);
    }
    this.rows.setCount(this.visible.length);
    this.drawTicks();
    if (active) this.rows.active = Math.max(0, this.visible.findIndex((row) => row.span_id === active));
  }

  fold(index, folded) {
    const row = this.visible[index];
    if (!row?.children || this.collapsed.has(row.span_id) === folded) return false;
    if (folded) this.collapsed.add(row.span_id);
    else this.collapsed.delete(row.span_id);
    this.reveal();
    return true;
  }

  openSpan(index, focus) {
    const row = this.visible[index];
    if (!row) return;
    const problem = this.trace.problems.find((each) => each.span_id === row.span_id);
    history.replaceState(null, "", `#/trace/${this.traceId}?span=${row.span_id}`);
    this.details.show(row, problem, { focus });
  }

  goTo(spanId) {
    this.collapsed.clear();
    this.reveal();
    const at = this.visible.findIndex((row) => row.span_id === spanId);
    this.rows.activate(at);
    this.openSpan(at, false);
  }

  onKey(event, index) {
    const row = this.visible[index];
    switch (event.key) {
      case "ArrowLeft":
        if (row && !this.fold(index, true)) {
          const parent = this.visible.findIndex((each) => each.span_id === row.parent_id);
          if (parent >= 0 && row.depth) this.rows.activate(parent);
        }
        return true;
      case "ArrowRight":
        if (row?.children && !this.fold(index, false)) this.rows.activate(index + 1);
        return true;
      case "z":
      case "Z":
        this.zoom(this.window ? null : row);
        return true;
      case "Escape":
        if (this.details.open) this.details.close();
        else if (this.window) this.zoom(null);
        else this.go("#/");
        return true;
      default:
        return false;
    }
  }

  /** Have the time of one span fill the width; null for the whole trace. */
  zoom(row) {
    this.window = row && row.duration_nanos > 0 ? [row.offset_nanos, row.offset_nanos + row.duration_nanos] : null;
    this.zoomButton.setAttribute("aria-pressed", String(Boolean(this.window)));
    this.zoomButton.textContent = this.window ? "Whole trace" : "Zoom to span";
    this.drawTicks();
    this.rows.refresh();
  }

  get span() {
    return this.window ?? [0, Math.max(1, this.trace.duration_nanos)];
  }

  /** Where an instant is, in percent of the width. */
  at(offset) {
    const [start, end] = this.span;
    return ((offset - start) / (end - start)) * 100;
  }

  // --- drawing -----------------------------------------------------------------------------------

  drawError(error) {
    const ids = error.body?.similar ?? error.body?.candidates ?? [];
    this.into.replaceChildren(el("div", { class: "note" }, el("p", { class: "error-text" }, `Trace ${this.traceId}: ${error.message}.`),
      ids.length ? el("p", {}, error.status === 409 ? "Which one?" : "Similar ones:") : null,
      el("ul", {}, ids.map((id) => el("li", {}, el("a", { href: `#/trace/${id}`, class: "mono" }, id)))),
      el("p", {}, el("a", { href: "#/" }, "All traces"))));
  }

  drawHead() {
    const trace = this.trace;
    this.zoomButton = el("button", { type: "button", "aria-pressed": String(Boolean(this.window)), onclick: () => this.zoom(this.window ? null : this.visible[this.rows.active]) },
      this.window ? "Whole trace" : "Zoom to span");
    fill(
      this.head,
      el("a", { href: "#/" }, "← all traces"), el("h1", {}, titleOf(trace)),
      trace.errors ? el("span", { class: "badge bad" }, count(trace.errors, "error")) : null,
      trace.open_spans ? el("span", { class: "badge soft" }, `${trace.open_spans} open`) : null,
      stitchBadge(trace),
      el("div", { class: "acts" }, this.zoomButton, el("button", { type: "button", onclick: () => this.copyJson() }, "Copy as JSON")),
      el("div", { class: "sub" },
        el("span", {}, duration(trace.duration_nanos)), el("span", {}, count(trace.spans.length, "span")), el("span", {}, clock(trace.start_nanos)),
        trace.session ? el("span", {}, "session ", el("a", { href: `#/session/${trace.session}`, class: "mono" }, trace.session)) : null,
        el("span", {}, "trace ", el("span", { class: "mono" }, trace.trace_id))));
    for (const link of trace.incoming) {
      this.head.querySelector(".sub").append(el("span", {}, "goes on in ", el("a", { href: `#/trace/${link.trace_id}?span=${link.span_id}` }, `${link.name || "(no name)"} ${link.trace_id.slice(0, 8)}`)));
    }
    const shown = trace.arriving ? [] : trace.problems;
    this.problems.hidden = shown.length === 0;
    this.problems.classList.toggle("mild", trace.stitch === "outside");
    this.problems.replaceChildren(...shown.slice(0, 50).map((problem) => el("li", {}, `Does not stitch: ${problem.text}.`,
      el("button", { type: "button", onclick: () => this.goTo(problem.span_id) }, "show"))));
    const kinds = new Set(trace.spans.map((row) => row.gap?.kind).filter(Boolean));
    fill(this.legend, trace.services.map((name) => el("span", { class: `svc ${colour(name)}` }, name || "(no service)")),
      el("span", {}, el("i", { class: "k-path" }), "critical path"),
      kinds.has("network") ? el("span", {}, el("i", { class: "k-gap" }), "network") : null,
      kinds.has("handover") ? el("span", {}, el("i", { class: "k-gap" }), "between processes") : null,
      kinds.has("queue") ? el("span", {}, el("i", { class: "k-queue" }), "queue") : null);
  }

  drawTicks() {
    const [start, end] = this.span;
    const places = narrow.matches ? 3 : TICKS;
    this.ticks.replaceChildren(...Array.from({ length: places }, (_, place) => {
      const tick = el("span", {}, duration(start + ((end - start) * place) / places));
      tick.style.left = `${(place / places) * 100}%`;
      return tick;
    }));
  }

  drawRow(row) {
    const folded = this.collapsed.has(row.span_id);
    const twist = el("button", { type: "button", tabindex: "-1", "aria-hidden": "true", class: row.children ? "twist" : "twist leaf" }, folded ? "▶" : "▼");
    twist.addEventListener("click", (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.rows.element.focus({ preventScroll: true });
      const at = this.visible.indexOf(row);
      this.rows.activate(at);
      this.fold(at, !folded);
    });
    const name = el("span", { role: "gridcell", class: "name" },
      row.depth > MAX_INDENT ? el("span", { class: "deep", title: "depth" }, String(row.depth)) : null,
      twist, el("span", { class: "chip", "aria-hidden": "true" }),
      row.status === "error" ? el("span", { class: "state error", title: "error" }, "✕") : row.status === "warning" ? el("span", { class: "state warning", title: row.failure }, "!") : null,
      row.problem ? el("span", { class: row.problem === "outside" ? "badge warn" : "badge bad" }, { orphan: "no parent", outside: "caller missing", roots: "2nd root", cycle: "circle" }[row.problem]) : null,
      el("span", { class: "label", title: row.name }, row.name || "(no name)"),
      el("span", { class: "of" }, row.service),
      row.links ? el("span", { class: "badge soft", title: "links to other spans" }, `↗ ${row.links}`) : null);
    name.style.paddingLeft = `${(narrow.matches ? 6 : 10) + Math.min(row.depth, MAX_INDENT) * (narrow.matches ? 8 : 13)}px`;
    return el("div", {
      role: "row", class: `span ${row.status} ${colour(row.service)}`, "aria-level": String(row.depth + 1),
      "aria-expanded": row.children ? String(!folded) : undefined,
      "aria-label": this.describe(row),
    }, name, el("span", { role: "gridcell", class: "track", "aria-hidden": "true" }, ...this.drawTrack(row)));
  }

  describe(row) {
    const words = [row.name || "no name", row.service, duration(row.duration_nanos)];
    if (row.status !== "ok") words.push(row.status, row.failure);
    if (row.open) words.push("open");
    if (row.critical) words.push("on the critical path");
    if (row.problem) words.push("does not stitch");
    return words.filter(Boolean).join(", ");
  }

  drawTrack(row) {
    const parts = [];
    const end = row.offset_nanos + row.duration_nanos;
    const place = (element, from, to) => {
      const left = Math.max(0, this.at(from));
      const right = Math.min(100, this.at(to));
      if (right < 0 || left > 100 || right < left) return;
      element.style.left = `${left}%`;
      element.style.width = `${right - left}%`;
      parts.push(element);
    };
    if (row.gap) {
      const kind = row.gap.kind;
      const words = { network: "network", queue: "queue", handover: "between processes" }[kind];
      place(el("span", { class: `gap ${kind}`, title: `${words}: ${duration(row.gap.before)}` }), row.offset_nanos - row.gap.before, row.offset_nanos);
      if (row.gap.after) place(el("span", { class: `gap ${kind}`, title: `${words}, on the way back: ${duration(row.gap.after)}` }), end, end + row.gap.after);
    }
    place(el("span", { class: `bar${row.open ? " open" : ""}${row.duration_nanos === 0 ? " instant" : ""}` }), row.offset_nanos, end);
    for (const [from, to] of row.critical ?? []) place(el("span", { class: "path" }), from, to);
    const left = this.at(row.offset_nanos);
    const right = this.at(end);
    if (right < 0 || left > 100) return parts;
    const took = el("span", { class: "took" }, row.open ? `${duration(row.duration_nanos)} →` : duration(row.duration_nanos));
    if (right < 84) took.style.left = `${Math.max(0, this.at(end + (row.gap?.after ?? 0)))}%`;
    else if (left > 18) {
      took.classList.add("left");
      took.style.left = `${this.at(row.offset_nanos - (row.gap?.before ?? 0))}%`;
    } else {
      took.classList.add("inside");
      took.style.left = `${Math.max(0, left)}%`;
    }
    parts.push(took);
    return parts;
  }

  async copyJson() {
    try {
      await copy(JSON.stringify(await getOtlp(this.traceId), null, 2), "trace as OTLP JSON");
    } catch (error) {
      toast(error.message);
    }
  }
}
