/**
 * Markdown as chat models write it, read into DOM nodes. Everything it does not know, HTML above all, stays text.
 *
 * Linear in the length of the text, whatever the text is: a line is looked at a constant number of times per level, levels
 * and open marks are bounded, and no pattern has two ways to match the same characters.
 */

import { fill, make } from "./dom.js";

const DEEPEST = 6; // levels of quotes and lists; what is deeper is a paragraph
const MOST_OPEN = 12; // marks waiting for their end: bounds the depth of the tree, which browsers walk recursively

/** @returns {DocumentFragment} */
export function markdown(/** @type {string} */ text) {
  const root = document.createDocumentFragment();
  blocks(text.replace(/\r\n?/g, "\n").replaceAll("\t", "    ").split("\n"), root, 0);
  return root;
}

// --- blocks

const FENCE = /^ {0,3}(`{3,}|~{3,})(?=[^`~]|$)/;
const HEADING = /^ {0,3}(#{1,6})(?: |$)/;
const RULE = /^ {0,3}([-*_]) *(?:\1 *){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: +|$)/;
const DIVIDER = /^[|:\- ]+$/;
const SPACES = /^ */;

const READERS = [fence, heading, rule, quote, list, table, paragraph];

/** Each reader takes the block at `start` if it is one of its own, and returns the line after it; else `start`. */
function blocks(lines, parent, depth) {
  let at = 0;
  while (at < lines.length) {
    const start = at;
    if (blank(lines[at])) at += 1;
    else READERS.find((read) => (at = read(lines, start, parent, depth)) > start);
  }
}

const blank = (line) => line.trim() === "";
const indent = (line) => SPACES.exec(line)[0].length;
const startsBlock = (line) => [FENCE, HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line));

function fence(lines, start, parent) {
  const marks = FENCE.exec(lines[start])?.[1];
  if (!marks) return start;
  const info = lines[start].trim().slice(marks.length);
  if (info.includes("`")) return start;
  const closes = (line) => line.startsWith(marks) && line === marks[0].repeat(line.length);
  let end = start + 1;
  while (end < lines.length && !closes(lines[end].trim())) end += 1;
  const pre = make("pre", { tabindex: "0" }, make("code", {}, lines.slice(start + 1, end).join("\n")));
  const language = info.trim().split(" ")[0];
  const label = language ? [make("span", { class: "language" }, language)] : [];
  parent.append(make("div", { class: "code" }, label, pre));
  return end + 1;
}

function heading(lines, start, parent) {
  const found = HEADING.exec(lines[start]);
  if (!found) return start;
  const level = Math.min(6, found[1].length + 2); // h1 and h2 are the page's own
  let words = lines[start].slice(found[0].length).trim();
  while (words.endsWith("#")) words = words.slice(0, -1);
  inline(words.trim(), parent.appendChild(make(`h${level}`)));
  return start + 1;
}

function rule(lines, start, parent) {
  if (!RULE.test(lines[start])) return start;
  parent.append(make("hr"));
  return start + 1;
}

function quote(lines, start, parent, depth) {
  let end = start;
  while (depth < DEEPEST && end < lines.length && QUOTE.test(lines[end])) end += 1;
  if (end === start) return start;
  const inside = lines.slice(start, end).map((line) => line.replace(QUOTE, ""));
  blocks(inside, parent.appendChild(make("blockquote")), depth + 1);
  return end;
}

function list(lines, start, parent, depth) {
  const first = depth < DEEPEST && ITEM.exec(lines[start]);
  if (!first) return start;
  const [, margin, mark] = first;
  const number = parseInt(mark, 10);
  const holder = make(number >= 0 ? "ol" : "ul", number >= 0 && number !== 1 ? { start: String(number) } : {});
  const belongs = (item) => item && item[1].length < margin.length + 2 && item[2].at(-1) === mark.at(-1);
  parent.append(holder);
  let end = start;
  for (let at = start, item = first; belongs(item); item = ITEM.exec(lines[at] ?? "")) {
    end = itemEnd(lines, at, item[1].length + 2);
    blocks(itemLines(lines.slice(at, end), item[0].length), holder.appendChild(make("li")), depth + 1);
    for (at = end; at < lines.length && blank(lines[at]); ) at += 1;
  }
  return end;
}

/** Where the item that begins at `start` ends: before a line that is neither indented nor goes on with its paragraph. */
function itemEnd(lines, start, least) {
  let end = start + 1;
  for (let at = end; at < lines.length; at += 1) {
    const line = lines[at];
    if (blank(line)) continue;
    if (indent(line) < least && (blank(lines[at - 1]) || startsBlock(line))) break;
    end = at + 1;
  }
  return end;
}

function itemLines([first, ...rest], margin) {
  const task = first.slice(margin).replace(/^\[([ xX])\] /, (_, done) => (done === " " ? "☐ " : "☑ "));
  return [task, ...rest.map((line) => line.slice(Math.min(margin, indent(line))))];
}

const cells = (line) => line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|").map((cell) => cell.trim());

function side(cell) {
  if (!cell.endsWith(":")) return {};
  return { class: cell.startsWith(":") ? "middle" : "right" };
}

function table(lines, start, parent) {
  const divider = lines[start + 1] ?? "";
  if (!lines[start].includes("|") || !DIVIDER.test(divider) || !divider.includes("-")) return start;
  const sides = cells(divider).map(side);
  if (sides.length !== cells(lines[start]).length) return start;
  let end = start + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  const row = (tag, line) => {
    const texts = cells(line).slice(0, sides.length); // none is made up, or a text could ask for lines × columns of them
    return make("tr", {}, texts.map((text, i) => inline(text, make(tag, sides[i]))));
  };
  const body = lines.slice(start + 2, end).map((line) => row("td", line));
  const grid = make("table", {}, make("thead", {}, row("th", lines[start])), make("tbody", {}, body));
  parent.append(make("div", { class: "table", tabindex: "0" }, grid));
  return end;
}

function paragraph(lines, start, parent) {
  let end = start + 1;
  while (end < lines.length && !blank(lines[end]) && !startsBlock(lines[end])) end += 1;
  const text = lines.slice(start, end).map((line) => line.trim()).join("\n");
  inline(text, parent.appendChild(make("p")));
  return end;
}

// --- inside a block

const PLAIN = /[^\\`*_~[\]!<h\n]+/y;
const TICKS = /`+/g;
const RUN = /([`*_~])\1*/y;
const TARGET = /\( *(?:<([^<>\n]+)>|((?:[^\s()<>]|\([^\s()<>]*\))+))(?: +"[^"\n]*")? *\)/y;
const BARE = /https?:\/\/[^\s<>"`|[\]]+/y;
const AFTER_ADDRESS = ".,;:!?'*_~}"; // a bare address does not end with these
const ANGLED = /<((?:https?:\/\/|mailto:)[^\s<>]+)>/y;
const WORD = /[\p{L}\p{N}]/u;
const TAGS = { "*": "em", "**": "strong", _: "em", __: "strong", "~~": "del" };
const STEPS = {
  "\\": "escape", "`": "code", "*": "mark", _: "mark", "~": "mark", "[": "bracket", "!": "bracket", "]": "link",
  "<": "angled", h: "bare", "\n": "newline",
};

function inline(text, parent) {
  return fill(parent, new Inline(text).read());
}

/** The match of a sticky pattern at `at`, or null. */
function here(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** The address in full if a click may go there, else null. Without a base: an address of its own or none. */
function safe(text) {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url && ["http:", "https:", "mailto:"].includes(url.protocol) ? url : null;
}

/** A link shows where it goes: in its title, and beside it where its words look like another address. */
function anchor(url, children) {
  const link = make("a", { href: url.href, title: url.href, target: "_blank", rel: "noopener noreferrer" }, children);
  const words = link.textContent.trim();
  const goes = url.host || url.pathname;
  const says = url.host ? (safe(words) ?? safe(`https://${words}`))?.host : words.replace("mailto:", "");
  if (!words || url.username || (/\S[.@]\S|:\/\//.test(words) && says !== goes)) link.append(` (${goes})`);
  return link;
}

const isBracket = ({ mark }) => mark.endsWith("[");

/** Reads a text in one pass. `open` holds the marks that wait for their end, with where they stand in `out`. */
class Inline {
  constructor(text) {
    this.text = text;
    this.at = 0;
    /** @type {(Node | string)[]} */
    this.out = [];
    /** @type {{mark: string, place: number}[]} */
    this.open = [];
  }

  read() {
    while (this.at < this.text.length) {
      const step = STEPS[this.text[this.at]];
      if (!step || !this[step]()) this.plain(here(PLAIN, this.text, this.at)?.[0] ?? this.text[this.at]);
    }
    return this.out;
  }

  /** Text joins the text before it, unless that is a mark which still waits. */
  plain(text, length = text.length) {
    const last = this.out.length - 1;
    if (typeof this.out[last] === "string" && this.open.at(-1)?.place !== last) this.out[last] += text;
    else this.out.push(text);
    this.at += length;
    return true;
  }

  put(node, length) {
    this.out.push(node);
    this.at += length;
    return true;
  }

  wait(mark) {
    if (this.open.length === MOST_OPEN) this.open.shift();
    this.open.push({ mark, place: this.out.length });
    return this.put(mark, mark.length);
  }

  /** What was put since the mark of `open[index]`, which with all later ones waits no more. */
  take(index) {
    const { place } = this.open[index];
    this.open.length = index;
    return this.out.splice(place).slice(1);
  }

  newline() {
    return this.put(make("br"), 1);
  }

  escape() {
    const next = this.text[this.at + 1] ?? "";
    if (next === "\n") return this.put(make("br"), 2);
    return /[!-/:-@[-`{-~]/.test(next) && this.plain(next, 2);
  }

  code() {
    this.ticks ??= Map.groupBy([...this.text.matchAll(TICKS)].reverse(), (run) => run[0].length);
    const { length } = here(RUN, this.text, this.at)[0];
    const runs = this.ticks.get(length) ?? []; // the nearest last
    while (runs.length && runs.at(-1).index <= this.at) runs.pop();
    if (!runs.length) return this.plain("`".repeat(length));
    const inside = this.text.slice(this.at + length, runs.at(-1).index);
    return this.put(make("code", {}, inside.trim() || inside), inside.length + 2 * length);
  }

  mark() {
    const [run, char] = here(RUN, this.text, this.at);
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[this.at + run.length] ?? " ";
    const inWord = char === "_" && WORD.test(before) && WORD.test(after);
    if (inWord || run.length > 3 || (char === "~" && run.length !== 2)) return this.plain(run);
    const rest = before.trim() ? this.close(run) : run;
    if (!after.trim()) return rest === "" || this.plain(rest);
    if (rest.length > 1) this.wait(rest.slice(0, 2));
    return rest.length === 2 || rest === "" || this.wait(char);
  }

  /** End the marks that `run` can end, the innermost first. Returns what is left of it. */
  close(run) {
    const index = this.open.findLastIndex(({ mark }) => mark[0] === run[0] && mark.length <= run.length);
    if (run === "" || index < 0) return run;
    const { mark } = this.open[index];
    this.put(make(TAGS[mark], {}, this.take(index)), mark.length);
    return this.close(run.slice(mark.length));
  }

  bracket() {
    if (this.text.startsWith("[", this.at)) return this.wait("[");
    return this.text.startsWith("![", this.at) && this.wait("![");
  }

  link() {
    const index = this.open.findLastIndex(isBracket);
    if (index < 0) return false;
    const target = here(TARGET, this.text, this.at + 1);
    const url = target && safe(target[1] ?? target[2]);
    if (!url) return this.open.splice(index, 1) && false;
    const picture = this.open[index].mark === "![";
    const children = this.take(index);
    const inLink = this.open.some(isBracket);
    if (picture && inLink) return this.put(make("span", {}, children), 1 + target[0].length);
    this.open = this.open.filter((mark) => !isBracket(mark)); // no link in a link
    return this.put(anchor(url, children), 1 + target[0].length);
  }

  angled() {
    const found = here(ANGLED, this.text, this.at);
    return found !== null && this.address(found[1], found[0].length);
  }

  bare() {
    const found = WORD.test(this.text[this.at - 1] ?? " ") ? null : here(BARE, this.text, this.at)?.[0];
    if (!found) return false;
    const after = found.includes("(") ? AFTER_ADDRESS : `${AFTER_ADDRESS})`;
    let { length } = found;
    while (after.includes(found[length - 1])) length -= 1;
    return this.address(found.slice(0, length), length);
  }

  address(text, length) {
    const url = this.open.some(isBracket) ? null : safe(text);
    return url ? this.put(anchor(url, [text]), length) : this.plain(text, length);
  }
}
