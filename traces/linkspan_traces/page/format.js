// Durations, times and counts as people read them.

const UNITS = [[3.6e12, "h"], [6e10, "min"], [1e9, "s"], [1e6, "ms"], [1e3, "µs"]];

/** Write nanoseconds with three digits or so: 999 ns, 1.25 ms, 12.3 s, 5.2 min. */
export function duration(nanos) {
  if (nanos === 0) return "0";
  for (const [size, unit] of UNITS) {
    const value = nanos / size;
    if (value >= 0.9995) return `${value >= 99.95 ? Math.round(value) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2)} ${unit}`;
  }
  return `${Math.round(nanos)} ns`;
}

/** Write epoch nanoseconds, given as text, as a local time; with the date if it is not today's. */
export function clock(nanos) {
  const millis = Number(BigInt(nanos) / 1000000n);
  const at = new Date(millis);
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

/** Write a count and its noun. */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** Compare epoch nanoseconds that are given as text. */
export function compareNanos(a, b) {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}
