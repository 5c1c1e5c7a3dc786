/** The page: ties the connection, the conversation on the screen, the list of chats and the live tree together. */

import { Conversation } from "./chat.js";
import { Connection } from "./connection.js";
import { at, make, moment, say, span } from "./dom.js";
import { Outbox, fresh } from "./outbox.js";
import { Tree, summary } from "./tree.js";

const POLL_MS = 2000; // the live tree, while the page is seen
const CHAT_BYTES = 6; // of a chat’s name: one person makes it, and reads it in the tree
const ACCEPT_MS = 15_000; // to be on disk; a connection that takes longer is left for a new one
const DOING = {
  thinking: "Thinking", working: "Working", stopping: "Stopping", waiting: "Waiting", delivering: "Sending the answer",
};
const STOPPABLE = ["thinking", "working", "waiting"];
const LINK = { connecting: "Connecting", ready: "Connected", refused: "Not let in" };
const THEMES = { system: "Colours: system", light: "Colours: light", dark: "Colours: dark" };

const outbox = new Outbox();
const tree = new Tree(at("nodes"));
const connection = new Connection({ frame: take, state: linked });
let token = "";
/** @type {Conversation} */
let talk;
let doing = { state: "idle", since: 0 };
let link = { state: "connecting", until: 0 };
/** Final messages for chats that are not on the screen: each is acknowledged once somebody can see it.
 * @type {Map<string, Map<string, any>>} */
const unseen = new Map();

// --- the token

function begin() {
  visit();
  choose(sessionStorage.getItem("nanobot.chat") ?? fresh(CHAT_BYTES));
  const known = sessionStorage.getItem("nanobot.token");
  if (known) enter(known);
  else knock("");
}

/** The address may bring a token; it does not stay there. */
function visit() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  if (given) sessionStorage.setItem("nanobot.token", given);
  return given;
}

addEventListener("hashchange", () => visit() && enter(sessionStorage.getItem("nanobot.token")));

function enter(word) {
  token = word;
  at("door").close();
  connection.open(token);
  poll();
  listSessions();
}

function knock(reason) {
  token = "";
  sessionStorage.removeItem("nanobot.token");
  say(at("refusal"), reason);
  if (!at("door").open) at("door").showModal();
}

at("door").addEventListener("cancel", (event) => event.preventDefault());
at("knock").addEventListener("submit", () => {
  const word = at("token").value.trim();
  at("token").value = "";
  sessionStorage.setItem("nanobot.token", word);
  enter(word);
});

// --- frames

function linked(state, { reason, until }) {
  link = { state, until };
  at("link").dataset.state = state;
  showLink();
  if (state === "refused") return knock(reason);
  if (state !== "ready") {
    show("idle");
    return outbox.all().forEach(({ id }) => talk.trail(id, "queued"));
  }
  talk.judged = null; // an answer to the connection before does not come any more
  openAgain();
  for (const message of outbox.all()) post(message);
  listSessions();
}

const FRAMES = {
  accepted({ id }) {
    outbox.drop(id);
    talk.trail(id, "kept");
    listSessions();
  },
  state: (frame) => ofTalk(frame) && changed(frame),
  tool: (frame) => ofTalk(frame) && talk.tool(frame),
  delta: (frame) => ofTalk(frame) && talk.delta(frame),
  void: (frame) => ofTalk(frame) && talk.void(frame),
  message: received,
  history(frame) {
    if (!ofTalk(frame)) return;
    talk.history(frame);
    at("earlier").hidden = !frame.items.length || talk.oldest <= 0;
    arranged();
  },
  error({ id, reason }) {
    const sentence = reason.charAt(0).toUpperCase() + reason.slice(1);
    if (id && outbox.has(id)) talk.trail(id, "refused", sentence);
    else if (connection.ready) talk.note(sentence);
  },
};

function take(frame) {
  if (Object.hasOwn(FRAMES, frame.type)) FRAMES[frame.type](frame);
}

const ofTalk = (frame) => frame.chat === talk.chat;

function received(frame) {
  if (ofTalk(frame)) {
    const { body } = talk.message(frame);
    connection.send({ type: "ack", id: frame.id });
    say(at("said"), `nanobot: ${body.textContent}`);
    arranged();
  } else {
    const waiting = unseen.get(frame.chat) ?? new Map();
    unseen.set(frame.chat, waiting.set(frame.id, frame));
  }
  listSessions();
}

function changed({ state, tool }) {
  if (doing.state === "idle" && state !== "idle" && !talk.unanswered) openAgain(); // somebody asks elsewhere
  if ((doing.state === "idle") !== (state === "idle")) listSessions();
  show(state, tool);
  if (state === "idle") talk.idle();
}

function openAgain() {
  if (connection.send({ type: "open", chat: talk.chat })) talk.awaits();
}

// --- writing

function post(message) {
  const out = connection.send({ type: "message", id: message.id, chat: message.chat, text: message.text });
  if (message.chat === talk.chat) talk.said(message, out ? "sent" : "queued");
  arranged();
  if (out) setTimeout(() => connection.ready && isLate(message.id) && connection.again(), ACCEPT_MS);
}

const isLate = (id) => outbox.has(id) && talk.find("you", id)?.state === "sent";

function submit() {
  const text = at("text").value.trim().toWellFormed(); // half a character could not be written to disk
  if (!text) return;
  at("text").value = "";
  tell(text);
}

function tell(text) {
  const message = { id: fresh(), chat: talk.chat, text, at: Date.now() / 1000 };
  outbox.keep(message);
  post(message);
}

at("write").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
at("text").addEventListener("keydown", (event) => {
  const line = event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches;
  if (event.key !== "Enter" || line) return;
  event.preventDefault();
  submit();
});
at("stop").addEventListener("click", () => connection.send({ type: "stop", chat: talk.chat }));
at("earlier").addEventListener("click", () => connection.send({ type: "open", chat: talk.chat, before: talk.oldest }));

const again = (id) => outbox.all().filter((message) => message.id === id).forEach(post);

function discard(id) {
  outbox.drop(id);
  talk.forget(id);
}

// --- chats

function choose(chat) {
  sessionStorage.setItem("nanobot.chat", chat);
  talk = new Conversation(chat, at("entries"), { again, discard, gap: openAgain, press: tell });
  show("idle");
  at("earlier").hidden = true;
  for (const message of outbox.all()) if (message.chat === chat) talk.said(message, "queued");
  openAgain();
  unseen.get(chat)?.forEach(received);
  unseen.delete(chat);
  arranged();
  drawer("");
  listSessions();
}

at("new").addEventListener("click", () => {
  choose(fresh(CHAT_BYTES));
  at("text").focus();
});

async function listSessions() {
  const found = await ask("sessions.json");
  if (found) at("sessions").replaceChildren(...found.map(sessionLine));
}

function sessionLine({ chat, title, at: last, unfinished }) {
  const mark = unseen.has(chat) ? "new answer" : unfinished ? "unfinished" : "";
  const button = make("button", { type: "button", ...(chat === talk.chat ? { "aria-current": "true" } : {}) },
    make("span", { class: "title" }, title || "Untitled"),
    make("span", { class: "when" }, mark ? make("em", {}, mark) : [], moment(last)));
  button.addEventListener("click", () => choose(chat));
  return make("li", {}, button);
}

// --- the gateway over HTTP

async function ask(path) {
  if (!token) return null;
  try {
    const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // the connection says that nobody is there, and tries again
  }
}

async function poll() {
  if (document.hidden) return;
  const found = await ask("status.json");
  at("tree").classList.toggle("old", found === null);
  if (found === null) return tree.tick();
  const { mood, text } = summary(found);
  tree.show(found);
  at("mood").dataset.mood = mood;
  at("summary").dataset.mood = mood;
  say(at("summary"), text);
  say(at("pulse"), text);
}

// --- what is shown

function show(state, tool = "") {
  if (doing.state !== state) doing = { state, since: Date.now() };
  const words = Object.hasOwn(DOING, state) ? DOING[state] : state;
  say(at("doing"), state === "idle" ? "" : tool ? `Using ${tool}` : words);
  at("state").classList.toggle("busy", state !== "idle");
  at("stop").hidden = !STOPPABLE.includes(state);
  tick();
}

function showLink() {
  const wait = Math.max(1, Math.ceil(link.until - Date.now() / 1000));
  say(at("link"), LINK[link.state] ?? `Not connected. Trying again in ${wait} s`);
}

function tick() {
  if (link.state === "waiting") showLink();
  const seconds = (Date.now() - doing.since) / 1000;
  say(at("clock"), doing.state === "idle" || seconds < 2 ? "" : span(seconds));
}

function arranged() {
  at("empty").hidden = talk.entries.length > 0;
}

function drawer(name) {
  for (const id of ["chats", "tree"]) {
    at(id).classList.toggle("open", id === name);
    at(`show-${id}`).setAttribute("aria-expanded", String(id === name));
  }
}

for (const id of ["chats", "tree"]) {
  at(`show-${id}`).addEventListener("click", () => drawer(at(id).classList.contains("open") ? "" : id));
}
document.addEventListener("keydown", (event) => event.key === "Escape" && drawer(""));
document.querySelector("main").addEventListener("click", () => drawer(""));

function theme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("nanobot.theme", name);
  at("theme").setAttribute("aria-label", THEMES[name]);
  at("theme").title = THEMES[name];
}

theme(Object.hasOwn(THEMES, document.documentElement.dataset.theme) ? document.documentElement.dataset.theme : "system");
at("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  theme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
});

begin();
setInterval(poll, POLL_MS);
setInterval(tick, 1000);
