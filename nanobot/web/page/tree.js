/** The live tree beside the chat: what runs, since when, and what is wrong with it. */

import { make, moment, say, span } from "./dom.js";

const STATES = ["up", "idle", "working", "disabled", "starting", "waiting", "stopping", "parked", "stuck"];
const BAD = ["parked", "stuck"];
const PASSING = ["starting", "waiting", "stopping"];
const MOST_CHILDREN = 40; // of one node; those in trouble come first

/** Every node of the tree, itself first. */
function* walk(node) {
  yield node;
  for (const child of node.children ?? []) yield* walk(child);
}

/** How it is, as one word for a colour and one sentence. */
export function summary(tree) {
  const nodes = [...walk(tree)];
  const bad = nodes.filter((node) => BAD.includes(node.state));
  const asked = nodes.filter((node) => node.kind === "approval").length;
  const passing = nodes.filter((node) => PASSING.includes(node.state) && node.kind !== "approval");
  const more = (some) => (some.length > 3 ? " and more" : "");
  const named = (some) => some.slice(0, 3).map((node) => `${node.name} is ${node.state}`).join(", ") + more(some);
  if (bad.length) return { mood: "bad", text: `${named(bad)}.` };
  if (asked) return { mood: "passing", text: asked === 1 ? "Something waits for your word." : `${asked} things wait for your word.` };
  if (passing.length) return { mood: "passing", text: `${named(passing)}.` };
  return { mood: "good", text: `Everything is up, for ${span(Date.now() / 1000 - tree.since)}.` };
}

export class Tree {
  #last = "";
  #closed = new Set();

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  show(tree) {
    const text = JSON.stringify(tree);
    if (text !== this.#last) this.root.replaceChildren(this.#item(tree, ""));
    this.#last = text;
    this.tick();
  }

  /** Let the spans of time grow. */
  tick() {
    const now = Date.now() / 1000;
    for (const time of this.root.querySelectorAll("time[data-since]")) say(time, span(now - Number(time.dataset.since)));
    for (const time of this.root.querySelectorAll("time[data-until]")) say(time, until(Number(time.dataset.until), now));
  }

  #item(node, above) {
    const path = `${above}/${node.name}`;
    const children = inOrder(node.children ?? []);
    const parts = [line(node), ...details(node)];
    if (!children.length) return make("li", {}, parts);
    const fold = make("details", this.#closed.has(path) ? {} : { open: "" }, make("summary", {}, parts));
    const shown = children.slice(0, MOST_CHILDREN).map((child) => this.#item(child, path));
    const more = children.length - shown.length;
    fold.append(make("ul", {}, shown, more ? make("li", { class: "more" }, `and ${more} more`) : []));
    fold.addEventListener("toggle", () => (fold.open ? this.#closed.delete(path) : this.#closed.add(path)));
    return make("li", {}, fold);
  }
}

function inOrder(children) {
  if (children.length <= MOST_CHILDREN) return children;
  const troubled = (node) => [...walk(node)].some(({ state }) => BAD.includes(state));
  return [...children.filter(troubled), ...children.filter((node) => !troubled(node))];
}

function line(node) {
  const state = STATES.includes(node.state) ? node.state : "other";
  const at = Number(node.since);
  const since = at > 0 ? make("time", { "data-since": String(at), title: `since ${moment(at)}` }) : [];
  const times = node.restarts === 1 ? "1 restart" : `${node.restarts} restarts`;
  const restarts = node.restarts ? make("span", { class: "restarts" }, times) : [];
  return make("span", { class: "line", "data-state": state, title: String(node.kind) },
    make("i", { "aria-hidden": "true" }), make("b", {}, String(node.name)), " ",
    make("span", { class: "word" }, String(node.state)), " ", since, restarts);
}

function details(node) {
  const facts = Object.entries(node.facts ?? {}).map(([name, value]) => make("span", { class: "detail" }, `${name}: ${value}`));
  const waiting = node.waiting ? [`waits for ${node.waiting}`] : [];
  const end = make("time", { "data-until": String(Number(node.until)) });
  if (node.until !== undefined) waiting.push(waiting.length ? " " : "", end);
  return [
    node.error ? make("span", { class: "detail error" }, String(node.error)) : [],
    waiting.length ? make("span", { class: "detail" }, waiting) : [],
    facts,
  ].flat();
}

const until = (at, now) => `until ${moment(at)}${at > now ? ` (${span(at - now)})` : ""}`;
