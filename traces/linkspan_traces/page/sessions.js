// The sessions that the traces tell of, the last active first and live.

import { getStatus, listSessions, watch } from "./api.js";
import { el, narrow } from "./dom.js";
import { clock, compareNanos, count, duration } from "./format.js";
import { Rows } from "./rows.js";

const PAGE = 200;
const PAUSE_MILLIS = 1000;

const latestFirst = (a, b) => compareNanos(b.last_nanos, a.last_nanos) || (a.session < b.session ? 1 : -1);

export class SessionsView {
  constructor(go) {
    this.go = go;
    this.sessions = [];
    this.cursor = "";
    this.rows = new Rows({
      role: "grid",
      label: "sessions",
      height: () => (narrow.matches ? 56 : 38),
      draw: (index) => this.drawRow(this.sessions[index]),
      open: (index) => this.go(`#/session/${this.sessions[index].session}`),
      key: (event) => this.onKey(event),
      end: () => this.more(),
    });
    this.empty = el("div", { class: "note", hidden: true });
    this.element = el("div", { class: "listview", role: "region", "aria-label": "sessions" }, this.drawHead(), this.empty, this.rows.element, this.drawKeys());
  }

  show(into) {
    into.replaceChildren(this.element);
    document.title = "Sessions · Linkspan";
    this.load();
    // Whatever comes may be of a session; how its numbers change, only the backend knows.
    this.stop = watch(new URLSearchParams(), (trace) => trace.session && this.loadSoon(), () => this.load());
    if (!narrow.matches) this.rows.element.focus({ preventScroll: true });
  }

  hide() {
    this.hidden = true;
    this.stop?.();
    this.loading?.abort();
    clearTimeout(this.waiting);
    this.rows.destroy();
  }

  loadSoon() {
    this.waiting ??= setTimeout(() => this.load(), PAUSE_MILLIS);
  }

  /** Take in the sessions that were active last; those further down stay as they are known. */
  async load() {
    clearTimeout(this.waiting);
    this.waiting = null;
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    this.tellTotals();
    try {
      const page = await listSessions(new URLSearchParams({ limit: String(PAGE) }), loading.signal);
      const fresh = new Set(page.sessions.map((each) => each.session));
      const last = page.sessions.at(-1);
      const below = page.next_cursor ? this.sessions.filter((each) => !fresh.has(each.session) && latestFirst(each, last) > 0) : [];
      if (below.length === 0) this.cursor = page.next_cursor;
      this.loading = null;
      this.change([...page.sessions, ...below]);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.loading = null;
      this.change([]);
      this.cursor = "";
      this.empty.className = "note bad";
      this.empty.replaceChildren(error.message);
    }
  }

  async more() {
    if (!this.cursor || this.loading) return;
    const loading = (this.loading = new AbortController());
    try {
      const page = await listSessions(new URLSearchParams({ limit: String(PAGE), cursor: this.cursor }), loading.signal);
      const known = new Set(this.sessions.map((each) => each.session));
      this.cursor = page.next_cursor;
      this.loading = null;
      this.change([...this.sessions, ...page.sessions.filter((each) => !known.has(each.session))]);
    } catch {
      if (this.loading === loading) this.loading = null; // the next look at the end tries again
    }
  }

  /** Show these, without moving what is looked at. */
  change(sessions) {
    if (this.hidden) return;
    const scroller = this.rows.element;
    const height = this.rows.options.height();
    const chosen = this.sessions[this.rows.active]?.session;
    const top = Math.floor(scroller.scrollTop / height);
    const seen = scroller.scrollTop > 0 ? this.sessions[top]?.session : undefined;
    const place = (session) => sessions.findIndex((each) => each.session === session);
    const moved = seen === undefined ? -1 : place(seen);
    const active = chosen === undefined ? -1 : place(chosen);
    this.sessions = sessions;
    this.empty.hidden = sessions.length > 0;
    scroller.hidden = sessions.length === 0;
    if (sessions.length === 0) {
      this.empty.className = "note";
      this.empty.replaceChildren("No sessions yet. A client that opens one shows up here with all its requests.");
    }
    this.rows.setCount(sessions.length);
    if (moved >= 0) scroller.scrollTop += (moved - top) * height;
    if (active >= 0) this.rows.activate(active, false);
    else if (this.rows.active < 0 && document.activeElement === scroller) this.rows.activate(0);
  }

  async tellTotals() {
    const status = await getStatus().catch(() => null);
    if (status && !this.hidden) document.getElementById("totals").textContent = `${count(status.traces, "trace")}, ${count(status.spans, "span")}`;
  }

  onKey(event) {
    if (event.key !== "Escape") return false;
    this.go("#/");
    return true;
  }

  drawRow(session) {
    const status = session.errors ? "error" : session.warnings ? "warning" : "ok";
    const [sign, words] = { ok: ["✓", "ok"], warning: ["!", "something went wrong"], error: ["✕", "error"] }[status];
    const took = Number(BigInt(session.last_nanos) - BigInt(session.first_nanos));
    return el("div", { role: "row", class: "cols sessioncols" },
      el("span", { role: "gridcell", class: `state ${status}`, title: words }, el("span", { "aria-hidden": "true" }, sign), el("span", { class: "skip" }, words)),
      el("span", { role: "gridcell", class: "title" },
        el("a", { href: `#/session/${session.session}`, tabindex: "-1", class: "mono" }, session.session),
        session.open ? el("span", { class: "badge soft", title: `${count(session.open, "request")} not known to have ended` }, "open") : null),
      el("span", { role: "gridcell", class: "num requests" }, narrow.matches ? count(session.requests, "request") : session.requests.toLocaleString("en")),
      el("span", { role: "gridcell", class: "num" }, failures(session)),
      el("span", { role: "gridcell", class: "num", title: "from its first request to its last" }, duration(took)),
      el("span", { role: "gridcell", class: "when" }, clock(session.last_nanos)));
  }

  drawHead() {
    const names = [["", ""], ["session", ""], ["requests", "num"], ["errors", "num"], ["lasted", "num"], ["last active", "when"]];
    return el("div", { class: "cols sessioncols listhead", "aria-hidden": "true" }, names.map(([name, style]) => el("span", { class: style }, name)));
  }

  drawKeys() {
    return el("div", { class: "keys" }, el("kbd", {}, "↑"), " ", el("kbd", {}, "↓"), " move · ", el("kbd", {}, "Enter"), " its requests · ",
      el("kbd", {}, "Esc"), " all traces");
  }
}

/** In how many requests there was an error, and in how many something else went wrong. */
function failures(session) {
  if (!session.errors && !session.warnings) return el("span", {}, narrow.matches ? "" : "-");
  return el("span", {},
    session.errors ? el("span", { class: "error-text", title: count(session.errors, "request") + " with an error" }, `${session.errors.toLocaleString("en")} ✕`) : null,
    session.errors && session.warnings ? " " : null,
    session.warnings ? el("span", { class: "warning-text", title: count(session.warnings, "request") + " in which something went wrong" }, `${session.warnings.toLocaleString("en")} !`) : null);
}
