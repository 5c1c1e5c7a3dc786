/** The side of WhatsApp: with the real Baileys as far as it goes without WhatsApp, and with its socket replaced. */

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server as TcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, test } from "node:test";

import * as baileys from "baileys";

import { openAuth } from "../src/auth.js";
import type { Status } from "../src/frames.js";
import type { Library } from "../src/library.js";
import { NotSent } from "../src/server.js";
import { type Bounds, Inbox } from "../src/store.js";
import { idOf, WhatsApp } from "../src/whatsapp.js";
import { fake } from "./fake-baileys.js";

const QUIET = { info: () => {}, warn: () => {}, error: () => {} };
const DELAYS = { firstMs: 5, longestMs: 40, healthyMs: 60_000, ackMs: 100 };
type Told = Record<string, unknown>;

/** WhatsApp's end of the fake socket. */
class Net {
  readonly told: Told[] = [];
  line: Socket | undefined;
  private news = (): void => {};

  constructor(readonly server: TcpServer) {
    server.on("connection", (line) => {
      this.line = line;
      line.on("error", () => {});
      createInterface({ input: line }).on("line", (text) => {
        this.told.push(JSON.parse(text) as Told);
        this.news();
      });
    });
  }
  say(what: object): void {
    this.line?.write(`${JSON.stringify(what)}\n`);
  }
  /** The next told thing of a kind. */
  async heard(op: string): Promise<Told> {
    for (;;) {
      const at = this.told.findIndex((one) => one["op"] === op);
      if (at >= 0) return this.told.splice(at, 1)[0] as Told;
      await new Promise<void>((resolve) => (this.news = resolve));
    }
  }
  message(id: string, text: string): void {
    const attrs = { from: "111222333444555@lid", id, t: "5", sender_pn: "4915112345678@s.whatsapp.net" };
    this.say({ op: "message", stanza: { tag: "message", attrs }, message: { conversation: text } });
  }
}

class Watcher {
  readonly statuses: Status[] = [];
  pumps = 0;
  private news = (): void => {};
  status(status: Status): void {
    this.statuses.push(status);
    this.news();
  }
  qr(): void {}
  pump(): void {
    this.pumps += 1;
    this.news();
  }
  async until(fact: () => boolean): Promise<void> {
    while (!fact()) await new Promise<void>((resolve) => (this.news = resolve));
  }
}

let folder = "";
let net: Net;
let inbox: Inbox;
let watcher: Watcher;
let whatsapp: WhatsApp;
let running: Promise<void>;

async function start(bounds?: Bounds, more: Partial<Library> = {}): Promise<void> {
  [inbox, watcher] = [new Inbox(join(folder, "inbox"), bounds), new Watcher()];
  const { port } = net.server.address() as { port: number };
  whatsapp = new WhatsApp(join(folder, "auth"), inbox, { ...fake(baileys, port), ...more }, QUIET, DELAYS);
  running = whatsapp.run(watcher);
  await net.heard("hello");
}

async function linked(): Promise<void> {
  net.say({ op: "linked" });
  await net.heard("hello");
  net.say({ op: "open" });
  await watcher.until(() => whatsapp.status === "connected");
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "whatsapp-"));
  net = new Net(createServer());
  net.server.listen(0, "127.0.0.1");
  await once(net.server, "listening");
});
afterEach(async () => {
  await whatsapp.stop();
  await running;
  net.line?.destroy();
  net.server.close();
  rmSync(folder, { recursive: true });
});

test("a new link: a code to scan, then connected; the link is on disk, closed to others", async () => {
  await start();
  net.say({ op: "qr", qr: "2@abc" });
  await watcher.until(() => whatsapp.qr === "2@abc");
  assert.equal(whatsapp.status, "unlinked");
  await linked();
  assert.equal(whatsapp.qr, undefined);
  const creds = JSON.parse(readFileSync(join(folder, "auth", "creds.json"), "utf8")) as { me: { id: string } };
  assert.equal(creds.me.id, "4915199999999:7@s.whatsapp.net");
});

test("a message is in the inbox before WhatsApp is told so, and once though it is told of twice", async () => {
  await start();
  await linked();
  net.message("A", "hello");
  await net.heard("receipt");
  assert.deepEqual(inbox.after(0)?.frame, {
    ...{ id: "A", sender: "111222333444555@lid", pn: "4915112345678@s.whatsapp.net", content: "hello", timestamp: 5, isGroup: false },
  });
  assert.deepEqual([inbox.size, watcher.pumps], [1, 1]);
});

test("the real Baileys notes a message before it confirms it: where confirming fails, it is kept all the same", async () => {
  await start();
  const auth = await openAuth(join(folder, "real"), baileys);
  auth.state.creds.me = { id: "4915199999999:7@s.whatsapp.net", lid: "999888777666555:7@lid" };
  const quiet: baileys.UserFacingSocketConfig["logger"] = { level: "silent", child: () => quiet, trace() {}, debug() {}, info() {}, warn() {}, error() {} } as never;
  const socket = baileys.makeWASocket({ auth: auth.state, waWebSocketUrl: "ws://127.0.0.1:9/", logger: quiet as never });
  (whatsapp as unknown as { tap(socket: baileys.WASocket): void }).tap(socket);
  const content = baileys.proto.Message.encode({ conversation: "hello" }).finish();
  const attrs = { from: "111222333444555@lid", id: "REAL", t: "5", type: "text", sender_pn: "4915112345678@s.whatsapp.net" };
  socket.ws.emit("CB:message", { tag: "message", attrs, content: [{ tag: "plaintext", attrs: {}, content }] });
  await watcher.until(() => inbox.size > 0);
  assert.deepEqual(inbox.after(0)?.frame.id, "REAL");
  assert.equal(inbox.after(0)?.frame.pn, "4915112345678@s.whatsapp.net");
  await socket.end(undefined);
});

test("a disk that refuses: nothing is confirmed, WhatsApp is left", async () => {
  await start();
  await linked();
  inbox.close();
  net.message("A", "hello");
  await net.heard("bye");
  assert.equal(net.told.some((one) => one["op"] === "receipt"), false);
});

test("what the disk refused is kept when it can be: it was decrypted, and WhatsApp cannot give it again", async () => {
  await start();
  await linked();
  const add = inbox.add.bind(inbox);
  inbox.add = () => {
    throw new Error("ENOSPC");
  };
  net.message("A", "hello");
  await net.heard("bye");
  inbox.add = add;
  await net.heard("hello");
  assert.equal(inbox.after(0)?.frame.id, "A");
});

test("however many wait to be decrypted, each is kept before it is confirmed", async () => {
  await start();
  const ws = new EventEmitter();
  const messageRetryManager = { addRecentMessage: (): void => {} };
  const socket = { ws, messageRetryManager, user: { id: "4915199999999:7@s.whatsapp.net" }, end: async () => {} };
  (whatsapp as unknown as { tap(socket: object): void }).tap(socket);
  const note = messageRetryManager.addRecentMessage as (chat: string, id: string, message: object) => void;
  for (let n = 0; n < 3000; n += 1) ws.emit("CB:message", { tag: "message", attrs: { from: "1@lid", id: `m${n}`, t: "5" } });
  note("1@lid", "m0", { conversation: "the first" });
  assert.equal(inbox.after(0)?.frame.id, "m0");
});

test("asked to begin again once more and once more, it takes its time", async () => {
  await start();
  while (!watcher.statuses.includes("disconnected")) {
    net.say({ op: "close", code: 515 });
    await net.heard("hello");
  }
});

test("full: WhatsApp is left until there is room", async () => {
  await start({ messages: 4, bytes: 1e9 });
  await linked();
  for (const id of ["A", "B", "C", "D"]) net.message(id, "x");
  await watcher.until(() => whatsapp.status === "full");
  await net.heard("bye");
  inbox.ack(1);
  whatsapp.acked();
  inbox.ack(2);
  whatsapp.acked();
  await net.heard("hello");
  assert.equal(inbox.size, 2);
});

const ends: [string, number, Status][] = [
  ["lost", 408, "disconnected"],
  ["closed by WhatsApp", 428, "disconnected"],
  ["taken by another program", 440, "replaced"],
  ["blocked", 403, "refused"],
  ["unlinked on the phone", 401, "unlinked"],
];
for (const [what, code, status] of ends)
  test(`a connection that is ${what} is told and made again`, async () => {
    await start();
    await linked();
    net.say({ op: "close", code });
    await watcher.until(() => watcher.statuses.includes(status));
    const { linked: still } = await net.heard("hello");
    assert.equal(still, code !== 401);
  });

test("an old version: the newest is asked for", async () => {
  const asked: string[] = [];
  const fetchLatestWaWebVersion = async () => {
    asked.push("version");
    return { version: [2, 9, 9] as [number, number, number], isLatest: true };
  };
  await start(undefined, { fetchLatestWaWebVersion });
  net.say({ op: "close", code: 405 });
  await net.heard("hello");
  assert.deepEqual(asked, ["version"]);
});

test("a text is sent when WhatsApp confirms it, under an id made of its reference", async () => {
  await start();
  await linked();
  const sending = whatsapp.send({ type: "send", ref: "r", to: "1@lid", text: "x" });
  const told = await net.heard("send");
  assert.deepEqual([told["id"], told["content"]], [idOf("r"), { text: "x", linkPreview: null }]);
  net.say({ op: "ack", id: idOf("r") });
  assert.equal(await sending, idOf("r"));
});

const refusals: [string, object | undefined, boolean][] = [
  ["refused", { error: "403" }, true],
  ["no new chats", { error: "463" }, true],
  ["a stale session", { error: "479" }, false],
  ["too many", { error: "429" }, false],
  ["the server's fault", { error: "500" }, false],
  ["no answer", undefined, false],
];
for (const [what, ack, permanent] of refusals)
  test(`not sent: ${what}`, async () => {
    await start();
    await linked();
    const sending = whatsapp.send({ type: "send", ref: "r", to: "1@lid", text: "x" });
    await net.heard("send");
    if (ack) net.say({ op: "ack", id: idOf("r"), ...ack });
    await assert.rejects(sending, (error) => error instanceof NotSent && error.permanent === permanent);
  });

test("a file that is asked for before there is a connection is given when there is one", async () => {
  await start();
  const [frame, raw] = [{ id: "A", sender: "1@lid", pn: "", content: "x", timestamp: 1, isGroup: false }, { imageMessage: { directPath: "eA==" } }];
  const message = Buffer.from(baileys.proto.Message.encode(raw).finish()).toString("base64");
  const file = whatsapp.file({ seq: 1, frame, raw: JSON.stringify({ key: {}, message }) });
  await linked();
  assert.deepEqual(await (await file).toArray(), [Buffer.from("x")]);
});

test("not sent: no connection, no file", async () => {
  await start();
  await assert.rejects(whatsapp.send({ type: "send", ref: "r", to: "1@lid", text: "x" }), /not connected/);
  await linked();
  const gone = whatsapp.send({ type: "send", ref: "r", to: "1@lid", media: join(folder, "none"), mimetype: "image/png" });
  await assert.rejects(gone, (error) => error instanceof NotSent && error.permanent);
});

const kinds: [string, string][] = [
  ["image/png", "image"],
  ["image/svg+xml", "document"],
  ["video/mp4", "video"],
  ["audio/ogg", "audio"],
  ["audio/mpeg", "audio"],
  ["application/pdf", "document"],
];
for (const [mimetype, kind] of kinds)
  test(`a file goes out by its kind: ${mimetype}`, async () => {
    await start();
    await linked();
    const media = join(folder, "file");
    writeFileSync(media, "content");
    const sending = whatsapp.send({ type: "send", ref: "r", to: "1@lid", media, mimetype, caption: "words", fileName: "a.x" });
    const content = (await net.heard("send"))["content"] as Record<string, unknown>;
    assert.ok(kind in content);
    assert.equal(content["ptt"], mimetype === "audio/ogg" ? true : undefined);
    assert.equal(content["caption"], kind === "audio" ? undefined : "words");
    net.say({ op: "ack", id: idOf("r") });
    await sending;
  });

test("the link is settled when what a write brought with it is written too", async () => {
  await start();
  const place = join(folder, "link");
  const { state, settled } = await openAuth(place, baileys);
  void (async () => {
    await state.keys.set({ session: { "a.1": new Uint8Array([3]) } });
    await undefined;
    await state.keys.set({ session: { "b.1": new Uint8Array([3]) } });
  })();
  await settled();
  assert.deepEqual(readdirSync(place).sort(), ["session-a.1.json", "session-b.1.json"]);
});

test("a key that is damaged or missing is asked for anew; one that the disk does not give is an error", async () => {
  await start();
  const place = join(folder, "link");
  const { state } = await openAuth(place, baileys);
  writeFileSync(join(place, "session-torn.json"), "{torn");
  assert.deepEqual(await state.keys.get("session", ["torn", "missing"]), {});
  mkdirSync(join(place, "session-broken.json"));
  await assert.rejects(async () => state.keys.get("session", ["broken"]), /EISDIR/);
});

test("the link: damaged it is an error and no new link; half files go; keys come back as they were", async () => {
  await start();
  const place = join(folder, "link");
  const auth = await openAuth(place, baileys);
  await Promise.all([auth.save(), auth.save()]);
  await auth.state.keys.set({ "pre-key": { "1": { public: new Uint8Array([1]), private: new Uint8Array([2]) } }, session: { "a:1": new Uint8Array([3]) } });
  writeFileSync(join(place, "creds.json.half"), "x");
  const again = await openAuth(place, baileys);
  assert.deepEqual(readdirSync(place).sort(), ["creds.json", "pre-key-1.json", "session-a-1.json"]);
  assert.deepEqual(Buffer.from((await again.state.keys.get("session", ["a:1"]))["a:1"] ?? []), Buffer.from([3]));
  writeFileSync(join(place, "creds.json"), "{torn");
  await assert.rejects(openAuth(place, baileys), /cannot be read/);
});
