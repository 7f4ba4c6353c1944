// Many rows of one height, of which only those in sight are there. Keyboard and ARIA included.
//
// The scroller has the focus, and says by aria-activedescendant which row is meant: rows come and go
// while one scrolls, and focus on one that goes would be lost.

const OVERSCAN = 6;
let ids = 0;

export class Rows {
  /**
   * @param options.role `grid` or `treegrid`.
   * @param options.label What the rows are, for screen readers.
   * @param options.height Returns the height of a row in pixels.
   * @param options.draw Makes the row's element of an index.
   * @param options.open Called with an index on Enter, a click or a tap.
   * @param options.key Called with a key event and the active index before the own keys are looked at;
   *     returns true if it took it.
   * @param options.end Called when the last rows come in sight.
   */
  constructor(options) {
    this.options = options;
    this.prefix = `rows${++ids}`;
    this.count = 0;
    this.active = -1;
    this.shown = new Map();
    this.drawing = 0;
    this.sizer = document.createElement("div");
    this.sizer.className = "sizer";
    this.sizer.setAttribute("role", "rowgroup");
    this.element = document.createElement("div");
    this.element.className = "rows";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", options.role);
    this.element.setAttribute("aria-label", options.label);
    this.element.append(this.sizer);
    this.element.addEventListener("scroll", () => this.later(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("click", (event) => this.onClick(event));
    this.element.addEventListener("focus", () => {
      if (this.active < 0 && this.count) this.activate(Math.floor(this.element.scrollTop / this.options.height()));
    });
    this.observer = new ResizeObserver(() => this.refresh());
    this.observer.observe(this.element);
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.drawing);
  }

  /** Say how many rows there are; what they hold may have changed. */
  setCount(count) {
    this.count = count;
    this.element.setAttribute("aria-rowcount", String(count));
    if (this.active >= count) this.active = count - 1;
    this.refresh();
  }

  /** Draw all rows in sight anew. */
  refresh() {
    for (const element of this.shown.values()) element.remove();
    this.shown.clear();
    this.sizer.style.height = `${this.count * this.options.height()}px`;
    this.draw();
  }

  later() {
    if (!this.drawing) this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.draw();
    });
  }

  draw() {
    const height = this.options.height();
    const first = Math.max(0, Math.floor(this.element.scrollTop / height) - OVERSCAN);
    const last = Math.min(this.count - 1, Math.ceil((this.element.scrollTop + this.element.clientHeight) / height) + OVERSCAN);
    for (const [index, element] of this.shown) {
      if (index < first || index > last) {
        element.remove();
        this.shown.delete(index);
      }
    }
    const fresh = document.createDocumentFragment();
    for (let index = first; index <= last; index++) {
      if (this.shown.has(index)) continue;
      const element = this.options.draw(index);
      element.id = `${this.prefix}-${index}`;
      element.dataset.index = String(index);
      element.setAttribute("aria-rowindex", String(index + 1));
      element.style.height = `${height}px`;
      element.style.transform = `translateY(${index * height}px)`;
      this.shown.set(index, element);
      fresh.append(element);
    }
    this.sizer.append(fresh);
    this.mark();
    if (this.count && last >= this.count - 1) this.options.end?.();
  }

  mark() {
    for (const [index, element] of this.shown) {
      element.classList.toggle("active", index === this.active);
      element.setAttribute("aria-selected", String(index === this.active));
    }
    if (this.shown.has(this.active)) this.element.setAttribute("aria-activedescendant", `${this.prefix}-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** Make a row the active one, and bring it in sight unless told not to. */
  activate(index, show = true) {
    if (!this.count) return;
    this.active = Math.max(0, Math.min(this.count - 1, index));
    if (!show) {
      this.mark();
      return;
    }
    const height = this.options.height();
    const top = this.active * height;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + height > this.element.scrollTop + this.element.clientHeight) {
      this.element.scrollTop = top + height - this.element.clientHeight;
    }
    this.draw();
  }

  onClick(event) {
    const row = event.target.closest("[role=row]");
    if (!row || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.activate(Number(row.dataset.index));
    this.options.open(this.active);
  }

  /** Take a key that was pressed on the scroller, or while nothing has the focus. */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target !== this.element && event.target !== document.body) return;
    if (event.target === document.body) this.element.focus({ preventScroll: true });
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.options.height()) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.count, End: this.count };
    if (this.options.key?.(event, this.active)) event.preventDefault();
    else if (event.key in steps) {
      event.preventDefault();
      this.activate(this.active + steps[event.key]);
    } else if (event.key === "Enter" && this.active >= 0) {
      event.preventDefault();
      this.options.open(this.active);
    }
  }
}
