/** The only way this page makes elements. Text becomes text nodes: no function here, or anywhere in the page, reads HTML. */

/**
 * @param {string} tag
 * @param {Record<string, string>} [attributes] names are ours, never a stranger's
 * @param {...(Node | string | (Node | string)[])} children strings become text
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return fill(node, children.flat());
}

/** One by one: as arguments of one call, a hundred thousand of them would overflow the stack. */
export function fill(parent, children) {
  for (const child of children) parent.append(child);
  return parent;
}

/**
 * The element with this id, which index.html promises to have.
 * @param {string} id
 * @returns {any}
 */
export const at = (id) => document.getElementById(id);

/** Touch a node only when something changes, so that selections and readers are not disturbed. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const UNITS = [[86_400, "d"], [3_600, "h"], [60, "min"]];

/** A span of seconds in its largest unit: `4 s`, `12 min`, `3 h`. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [size, unit] = UNITS.find(([least]) => whole >= least) ?? [1, "s"];
  return `${Math.floor(whole / size)} ${unit}`;
}

/** A moment (seconds since the epoch) as people write it: the time today, else the day and the time. */
export function moment(at) {
  const when = new Date(at * 1000);
  const time = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const today = when.toDateString() === new Date().toDateString();
  return today ? time : `${when.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}
