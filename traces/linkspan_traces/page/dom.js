// Elements out of plain values. Text goes in as text: nothing here makes HTML out of a string.

/** Make an element: `el("a", {href: "#/", class: "x"}, "text", child)`. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return fill(element, ...children);
}

/** Put children into an element instead of what it holds; nothing comes of null, false and lists are flat. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let hiding = 0;

/** Say something for a moment. */
export function toast(words) {
  const box = document.getElementById("toast");
  box.textContent = words;
  box.classList.add("on");
  clearTimeout(hiding);
  hiding = setTimeout(() => box.classList.remove("on"), 2200);
}

/** Put text on the clipboard, or show it where the browser does not allow that. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    const area = el("textarea", { readonly: true, "aria-label": what });
    area.value = text;
    const dialog = el("dialog", {}, el("p", {}, `Copy the ${what} from here:`), area,
      el("form", { method: "dialog" }, el("button", {}, "Close")));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    area.select();
  }
}

/** Whether the page is as narrow as a phone. */
export const narrow = matchMedia("(max-width: 760px)");
