/**
 * One conversation on the screen. Entries are kept in the order they are shown and each has one element for its whole life:
 * an answer grows, is replaced by the final message and is found again in the history, all in the same place.
 */

import { make, moment, say } from "./dom.js";
import { markdown } from "./markdown.js";

const PAINT_MS = 30; // between two paintings of an answer that grows; more where painting it takes long
const PAINT_SHARE = 8; // painting takes at most one part in so many of the time
const NEAR_END_PX = 80; // who has scrolled up further than this reads something, and is left there

const TRAIL = { queued: "waits for the connection", sent: "sent", kept: "on disk", answered: "answered", refused: "not taken" };
const PHASES = {
  started: "running", done: "done", failed: "failed", refused: "refused", cut: "stopped", not_run: "not run",
  deferred: "goes on beside the chat", unknown_after_crash: "cut by a crash",
};

/**
 * @typedef {object} Entry
 * @property {"you" | "bot" | "note"} role
 * @property {string} id of the message; empty where it is not known (yet)
 * @property {string} replyTo
 * @property {string} text
 * @property {number} order ordinal in the history; what is not in it yet is at Infinity
 * @property {HTMLElement} node
 * @property {HTMLElement} body
 * @property {HTMLElement} foot
 * @property {{label: string, says: string}[]} buttons what it asks can be answered by; each `says` names this question alone
 * @property {boolean} closed answered or expired, as the history says
 * @property {boolean} asks its buttons may be pressed
 * @property {boolean} spent it was answered, and the history is newer
 */

/** What tells questions apart. */
const choice = (buttons) => (buttons ?? []).map(({ says }) => says).join("\n");

export class Conversation {
  /** @type {Entry[]} */
  entries = [];
  /** @type {(Entry & {turn: number, tools: HTMLElement, stale: boolean, timer: number, cost: number}) | null} */
  live = null;
  /** Ordinals of the history that are known. */
  oldest = Infinity;
  newest = Infinity;
  /** @type {Entry[] | null} questions that were open when the history was asked for: it says which still are */
  judged = null;

  /**
   * @param {string} chat
   * @param {HTMLElement} root
   * @param {{again: (id: string) => void, discard: (id: string) => void, gap: () => void, press: (says: string) => void}} ask
   */
  constructor(chat, root, ask) {
    this.chat = chat;
    this.root = root;
    this.scroller = /** @type {HTMLElement} */ (root.parentElement);
    this.ask = ask;
    root.replaceChildren();
  }

  // --- what was written here

  said(message, state) {
    const known = this.find("you", message.id);
    const entry = known ?? this.add("you", { ...message, replyTo: "" });
    this.mark(entry, state);
    this.weigh();
    if (!known) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  trail(id, state, reason = "") {
    const entry = this.find("you", id);
    if (entry) this.mark(entry, state, reason);
  }

  mark(entry, state, reason = "") {
    if (entry.state === "answered") return;
    entry.state = state;
    entry.foot.dataset.state = state;
    say(entry.foot.firstElementChild, reason || TRAIL[state]);
    entry.foot.querySelectorAll("button").forEach((button) => button.remove());
    if (state !== "refused") return;
    for (const [label, act] of [["Send again", this.ask.again], ["Discard", this.ask.discard]]) {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => act(entry.id));
      entry.foot.append(button);
    }
  }

  forget(id) {
    const entry = this.find("you", id);
    if (entry) this.remove(entry);
    this.weigh();
  }

  get unanswered() {
    return this.entries.some((entry) => entry.role === "you" && entry.state !== "answered");
  }

  // --- what happens now

  delta({ turn, text }) {
    const live = this.growing(turn);
    live.text += text;
    live.timer ||= setTimeout(() => this.paint(live), Math.max(PAINT_MS, live.cost * PAINT_SHARE));
  }

  void({ turn }) {
    if (this.live?.turn !== turn) return;
    this.live.text = "";
    this.paint(this.live);
  }

  tool({ turn, name, phase }) {
    const live = this.growing(turn);
    const { tools } = live;
    if (live.text && phase === "started") this.interim(live);
    const running = [...tools.children].find((line) => line.dataset.phase === "started" && line.dataset.name === name);
    const line = running ?? this.keeping(() => tools.appendChild(make("li", {}, make("b", {}, name), " ", make("span"))));
    line.dataset.name = name;
    line.dataset.phase = phase;
    say(line.lastElementChild, Object.hasOwn(PHASES, phase) ? PHASES[phase] : phase);
  }

  /** What was said before a tool is no part of the answer: it stays as a line among the tools. */
  interim(live) {
    live.tools.append(make("li", { class: "spoken" }, live.text));
    live.text = "";
    this.paint(live);
  }

  /** The bubble of a running turn. */
  growing(turn) {
    if (this.live?.turn === turn) return this.live;
    if (this.live) this.remove(this.live);
    const entry = this.add("bot", { id: "", replyTo: "", text: "" });
    const tools = make("ol", { class: "tools", "aria-label": "Tools used" });
    entry.node.prepend(tools);
    entry.node.setAttribute("aria-busy", "true");
    return (this.live = Object.assign(entry, { turn, tools, stale: false, timer: 0, cost: 0 }));
  }

  paint(live) {
    clearTimeout(live.timer);
    const start = performance.now();
    this.keeping(() => live.body.replaceChildren(markdown(live.text)));
    live.cost = performance.now() - start;
    live.timer = 0;
  }

  /** A final message: in the page when this returns, whether it came before or not. Returns its entry. */
  message(frame) {
    const answers = [frame.replyTo, ...(frame.alsoAnswers ?? [])].filter(Boolean);
    const asked = answers.map((id) => this.find("you", id));
    asked.forEach((entry) => entry && this.mark(entry, "answered"));
    const before = this.counterpart(frame) ?? this.taken(frame, asked[0]);
    const entry = before ?? this.add("bot", { ...frame, replyTo: frame.replyTo ?? "" });
    this.keeping(() => {
      this.settle(entry, frame);
      this.weigh();
      this.arrange();
    });
    const unasked = !answers.length && !frame.buttons && this.entries.some(({ asks }) => asks); // perhaps of an answer elsewhere
    if (asked.includes(undefined) || unasked) this.ask.gap();
    return entry;
  }

  /** The entry that shows this already: a question by its buttons, an answer by its id, or by what it says to whom where one
   * side does not know the id. */
  counterpart({ id, replyTo, text, buttons }) {
    const words = (e) => (e.id && id ? e.id === id : e.replyTo === (replyTo ?? "") && e.text === text);
    const same = buttons ? (e) => choice(e.buttons) === choice(buttons) : words;
    return this.entries.find((entry) => entry.role === "bot" && entry !== this.live && same(entry));
  }

  /** The growing bubble, if this message is its end: not when it answers a command that was given meanwhile. */
  taken({ replyTo }, asked) {
    const live = this.live;
    if (!live || !replyTo || asked?.text.startsWith("/")) return null;
    clearTimeout(live.timer);
    this.live = null;
    return live;
  }

  settle(entry, { id, replyTo, text, failed, media, buttons }) {
    const same = entry.text === text && entry.body.hasChildNodes() && !entry.timer;
    Object.assign(entry, { id: id ?? entry.id, replyTo: replyTo ?? "", text });
    if (!same) entry.body.replaceChildren(markdown(text));
    entry.node.removeAttribute("aria-busy");
    entry.node.classList.toggle("failed", failed === true);
    const files = (media ?? []).map((file) => make("li", {}, String(file?.name ?? file)));
    if (files.length) entry.foot.replaceChildren(make("ul", { class: "files", "aria-label": "Files" }, files));
    if (buttons && !entry.buttons.length) this.offer(entry, buttons);
  }

  /** The turn is over. A bubble that got no end here was answered elsewhere: the history knows how. */
  idle() {
    if (!this.live) return;
    this.live.stale = true;
    this.ask.gap();
  }

  note(text) {
    this.keeping(() => this.add("note", { id: "", replyTo: "", text }));
  }

  // --- buttons

  offer(entry, buttons) {
    entry.buttons = buttons;
    const row = make("div", { class: "choices", role: "group", "aria-label": "Answers" });
    for (const { label, says } of buttons) {
      const button = make("button", { type: "button", title: String(says) }, String(label));
      button.addEventListener("click", () => this.ask.press(says));
      row.append(button);
    }
    row.append(make("span", { class: "label" }));
    entry.foot.before(row);
  }

  /** A question is answered by saying one of its answers, pressed or written; then, and when it is closed, nothing of it can be
   * pressed any more. */
  weigh() {
    const yours = this.entries.filter(({ role }) => role === "you");
    for (const entry of this.entries.filter(({ buttons }) => buttons.length)) {
      const answer = ({ says }) => yours.find(({ text, spent }) => text === says && (entry.closed || !spent));
      entry.asks = !entry.closed && !entry.buttons.some(answer);
      const row = entry.foot.previousElementSibling;
      say(row.lastElementChild, entry.closed && !entry.buttons.some(answer) ? "no longer open" : "");
      entry.buttons.forEach((offered, n) => {
        const button = row.children[n];
        if (button === document.activeElement && !entry.asks) this.scroller.focus(); // where Tab goes on
        button.disabled = !entry.asks;
        button.setAttribute("aria-pressed", String(Boolean(answer(offered))));
      });
    }
  }

  /** All that is open. A question that came after this was asked for is newer; an answer that left its question open was none. */
  open(questions) {
    const open = questions.map((question) => this.counterpart(question) ?? this.asked(question));
    for (const entry of this.judged ?? []) entry.closed = !open.includes(entry);
    for (const entry of this.entries) entry.spent ||= entry.role === "you" && entry.state === "answered";
    this.judged = null;
    this.weigh();
  }

  asked(question) {
    const entry = this.add("bot", { id: "", replyTo: "", text: "" });
    this.settle(entry, question);
    return entry;
  }

  /** The history is being asked for. */
  awaits() {
    this.judged ??= this.entries.filter(({ buttons, closed }) => buttons.length && !closed);
  }

  // --- what was before

  /** Items of the history, oldest first; entries that are here already keep their elements. `questions` come with the newest. */
  history({ items, questions }) {
    const { scrollHeight, scrollTop } = this.scroller;
    const earlier = items.length > 0 && items.at(-1).n < this.oldest && this.oldest < Infinity;
    if (this.live?.stale) this.remove(this.live);
    const batch = new Set(items.map((item) => this.recalled(item)));
    const ordinals = items.map((item) => item.n);
    this.oldest = Math.min(this.oldest, ...ordinals);
    this.newest = Math.max(this.newest < Infinity ? this.newest : -1, ...ordinals);
    this.entries = [...batch, ...this.entries.filter((entry) => !batch.has(entry))];
    this.keeping(() => {
      if (questions) this.open(questions);
      this.arrange();
    });
    if (earlier) this.scroller.scrollTop = scrollTop + this.scroller.scrollHeight - scrollHeight;
  }

  isSettled(entry) {
    return entry !== this.live && !entry.asks && (entry.role !== "you" || entry.state === "answered");
  }

  /** The entry of an item, with its place in the history. */
  recalled(item) {
    const role = item.role === "you" || item.role === "bot" ? item.role : "note";
    const known = role === "you" ? this.find(role, item.id) : role === "bot" && this.counterpart(item);
    const entry = known || this.create(role, { ...item, id: item.id ?? "", replyTo: item.replyTo ?? "" });
    entry.order = item.n;
    if (role === "you") this.mark(entry, item.open ? "kept" : "answered");
    if (role === "bot") this.settle(entry, item);
    return entry;
  }

  // --- entries and their elements

  find(role, id) {
    return this.entries.find((entry) => entry.role === role && entry.id === id);
  }

  add(role, from) {
    const entry = this.create(role, from);
    this.entries.push(entry);
    this.keeping(() => this.root.append(entry.node));
    return entry;
  }

  /** @returns {any} */
  create(role, { id, replyTo, text, at }) {
    const body = make("div", { class: "body" }, role === "bot" ? [] : text);
    const foot = make("footer", {}, make("span", { class: "label" }));
    if (at) foot.append(make("time", { datetime: new Date(at * 1000).toISOString() }, moment(at)));
    const node = make("article", { class: role, "aria-label": { you: "You", bot: "nanobot", note: "Note" }[role] }, body, foot);
    return { role, id, replyTo, text, order: Infinity, node, body, foot, buttons: [], closed: false, asks: false, spent: false };
  }

  remove(entry) {
    if (this.live === entry) this.live = null;
    this.entries = this.entries.filter((other) => other !== entry);
    entry.node.remove();
  }

  /** What is settled and stands in no history (the answer to a command) stays behind what was known when it came, or behind
   * what waits before it. All goes into this order; elements are moved only where they are out of place. */
  arrange() {
    for (const entry of this.entries.filter(({ order }) => order === Infinity)) {
      if (!this.isSettled(entry)) break;
      entry.order = this.newest + 0.5;
    }
    this.entries.sort((a, b) => (a.order === b.order ? 0 : a.order - b.order));
    let next = this.root.firstChild;
    for (const { node } of this.entries) {
      if (node === next) next = node.nextSibling;
      else this.root.insertBefore(node, next);
    }
  }

  /** Make a change; who reads the end goes on reading the end. */
  keeping(change) {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const result = change();
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX) this.scroller.scrollTop = this.scroller.scrollHeight;
    return result;
  }
}
