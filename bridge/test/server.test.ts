/** Who is let in, what is sent again, and what is sent once. The websocket is real. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { get as httpGet } from "node:http";
import { connect as connectTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, test } from "node:test";

import { WebSocket } from "ws";

import { type Incoming, MOST_FRAME, type Send, type Status } from "../src/frames.js";
import { type Network, NotSent, OTHER_VERSION, Server, TAKEN, TOO_LATE, WRONG_TOKEN } from "../src/server.js";
import { Inbox, type Kept, Sent } from "../src/store.js";

const PACE = { authMs: 150, pingMs: 60_000, rivalMs: 100 };
const QUIET = { info: () => {}, warn: () => {}, error: () => {} };
type Frame = Record<string, unknown>;

class Network1 implements Network {
  status: Status = "connected";
  qr: string | undefined;
  sends: Send[] = [];
  did: unknown[] = [];
  answer: (frame: Send) => Promise<string> = (frame) => Promise.resolve(`id of ${frame.ref}`);

  send(frame: Send): Promise<string> {
    this.sends.push(frame);
    return this.answer(frame);
  }
  async typing(to: string): Promise<void> {
    this.did.push(["typing", to]);
  }
  async read(...of: unknown[]): Promise<void> {
    this.did.push(["read", ...of]);
  }
  async file(kept: Kept): Promise<Readable> {
    if (kept.raw === "gone") throw new Error("it is gone");
    return Readable.from([Buffer.from(kept.raw ?? "")]);
  }
  acked(): void {}
}

class Client {
  readonly heard: Frame[] = [];
  readonly code: Promise<number>;

  constructor(readonly socket: WebSocket) {
    socket.on("message", (data) => this.heard.push(JSON.parse(String(data)) as Frame));
    this.code = new Promise((resolve) => socket.on("close", resolve));
  }
  send(frame: object): void {
    this.socket.send(JSON.stringify(frame));
  }
  async until(fact: () => boolean): Promise<void> {
    while (!fact()) await once(this.socket, "message");
  }
  seqs(): unknown[] {
    return this.heard.filter((frame) => frame["type"] === "message").map((frame) => frame["seq"]);
  }
}

let folder = "";
let network: Network1;
let inbox: Inbox;
let server: Server;
let port = 0;

async function start(): Promise<void> {
  [inbox, network] = [new Inbox(folder), new Network1()];
  server = new Server("right", inbox, new Sent(folder), network, QUIET, PACE);
  port = await server.listen(0);
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "bridge-"));
  await start();
});
afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

async function connect(first?: object, headers: Record<string, string> = {}): Promise<Client> {
  const client = new Client(new WebSocket(`ws://127.0.0.1:${port}`, { headers }));
  await once(client.socket, "open");
  if (first) client.send(first);
  return client;
}

async function ready(): Promise<Client> {
  const client = await connect({ type: "auth", token: "right", version: 2 });
  await client.until(() => client.heard.length > 0);
  return client;
}

function arrives(id: string, raw?: string): void {
  const frame: Incoming = { id, sender: "1@lid", pn: "", content: id, timestamp: 1, isGroup: false };
  inbox.add(raw === undefined ? frame : { ...frame, media: [{ url: "", mimetype: "a/b" }] }, raw);
  server.pump();
}

const refused: [string, object | undefined, number][] = [
  ["a wrong token", { type: "auth", token: "wrong", version: 2 }, WRONG_TOKEN],
  ["a token of another length", { type: "auth", token: "r", version: 2 }, WRONG_TOKEN],
  ["another first frame", { type: "ack", seq: 1 }, WRONG_TOKEN],
  ["no frame at all", undefined, TOO_LATE],
  ["another version", { type: "auth", token: "right", version: 1 }, OTHER_VERSION],
];
for (const [what, first, code] of refused)
  test(`refused: ${what}`, async () => {
    arrives("secret");
    const client = await connect(first);
    assert.equal(await client.code, code);
    assert.deepEqual(client.heard, []);
  });

test("refused: what a browser sends", async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { origin: "http://127.0.0.1" });
  const [error] = (await once(socket, "error")) as [Error];
  assert.match(error.message, /403/);
});

test("a browser that breaks off while it is refused ends nothing", async () => {
  server.close();
  await start(); // here, so that what it throws is this test's
  const asked = `GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: x\r\n\r\n${"x".repeat(60_000)}`;
  for (let n = 0; n < 60; n += 1) {
    const line = connectTcp(port, "127.0.0.1").on("error", () => {});
    await once(line, "connect");
    line.write(asked);
    await new Promise((resolve) => setTimeout(resolve, n % 3));
    line.resetAndDestroy();
  }
  await ready();
});

test("refused for now: one more that has shown no token", async () => {
  for (let n = 0; n < 16; n += 1) await connect();
  const [error] = (await once(new WebSocket(`ws://127.0.0.1:${port}`), "error")) as [Error];
  assert.match(error.message, /503/);
});

test("refused: a token that is empty", () => assert.throws(() => new Server("", inbox, new Sent(folder), network, QUIET)));

test("refused: a frame that is too large, and one that is none", async () => {
  const large = await ready();
  large.socket.send("x".repeat(MOST_FRAME + 1));
  assert.equal(await large.code, 1009);
  const none = await ready();
  none.socket.send("{");
  assert.equal(await none.code, 1008);
});

test("a second client is refused while the first answers", async () => {
  const first = await ready();
  const second = await connect({ type: "auth", token: "right", version: 2 });
  assert.equal(await second.code, TAKEN);
  assert.equal(first.socket.readyState, WebSocket.OPEN);
});

test("a client that is dead without a word is followed by the next", async () => {
  const first = await ready();
  (first.socket as unknown as { _socket: { pause(): void } })._socket.pause();
  const second = await connect({ type: "auth", token: "right", version: 2 });
  await second.until(() => second.heard[0]?.["type"] === "ready");
});

test("a client learns how it stands: the version, the status, the code to scan", async () => {
  [network.status, network.qr] = ["unlinked", "2@abc"];
  const client = await ready();
  await client.until(() => client.heard.length === 2);
  assert.deepEqual(client.heard, [
    { type: "ready", version: 2, status: "unlinked" },
    { type: "qr", qr: "2@abc" },
  ]);
});

test("what was not acknowledged comes again, in order, also over a restart", async () => {
  const first = await ready();
  for (const id of ["a", "b", "c", "d"]) arrives(id);
  await first.until(() => first.seqs().length === 4);
  first.send({ type: "ack", seq: 2 });
  first.send({ type: "typing", to: "1@lid" });
  while (network.did.length === 0) await new Promise(setImmediate);
  first.socket.close();
  await first.code;
  server.close();
  await start();
  const second = await ready();
  await second.until(() => second.seqs().length === 3);
  assert.deepEqual(second.seqs(), [1, 3, 4]);
});

test("64 messages wait for their acknowledgement at a time", async () => {
  const client = await ready();
  for (let n = 0; n < 70; n += 1) arrives(`m${n}`);
  await client.until(() => client.seqs().length === 64);
  client.send({ type: "ack", seq: 30 });
  await client.until(() => client.seqs().length === 65);
  assert.equal(client.seqs().at(-1), 65);
});

test("what a client does not read waits in the inbox, and comes when it reads", async () => {
  const client = await ready();
  const line = (client.socket as unknown as { _socket: Socket })._socket;
  line.pause();
  for (let n = 0; n < 60; n += 1) arrives(`m${n} ${"x".repeat(1_000_000)}`);
  const side = (server as unknown as { client: { socket: WebSocket } }).client.socket;
  assert.ok(side.bufferedAmount < 8_000_000, `${side.bufferedAmount}`);
  line.resume();
  await client.until(() => client.seqs().length === 60);
});

test("a send is answered with the network's id, or with why not", async () => {
  const client = await ready();
  network.answer = (frame) => ("text" in frame ? Promise.reject(new NotSent("no such chat", true)) : Promise.resolve("ID"));
  client.send({ type: "send", ref: "a", to: "1@lid", text: "x" });
  client.send({ type: "send", ref: "b", to: "1@lid", media: "/x", mimetype: "a/b" });
  await client.until(() => client.heard.length === 3);
  assert.deepEqual(client.heard.slice(1), [
    { type: "error", ref: "a", error: "no such chat", permanent: true },
    { type: "sent", ref: "b", id: "ID" },
  ]);
});

test("a send that comes again is sent once: under way, and after a restart", async () => {
  let take: (id: string) => void = () => {};
  network.answer = () => new Promise((resolve) => (take = resolve));
  const send = { type: "send", ref: "a", to: "1@lid", text: "x" };
  const first = await ready();
  first.send(send);
  while (network.sends.length === 0) await new Promise(setImmediate);
  first.socket.close();
  await first.code;
  const second = await ready();
  second.send(send);
  second.send({ type: "typing", to: "1@lid" });
  while (network.did.length === 0) await new Promise(setImmediate);
  take("ID");
  await second.until(() => second.heard.some((frame) => frame["type"] === "sent"));
  assert.equal(network.sends.length, 1);
  server.close();
  await start();
  const third = await ready();
  third.send(send);
  await third.until(() => third.heard.length === 2);
  assert.deepEqual(third.heard[1], { type: "sent", ref: "a", id: "ID" });
  assert.equal(network.sends.length, 0);
});

const files: [string, string, Record<string, string>, number, string][] = [
  ["whole", "/media/1", { authorization: "Bearer right" }, 200, "the file"],
  ["without a token", "/media/1", {}, 403, ""],
  ["with a wrong token", "/media/1", { authorization: "Bearer wrong" }, 403, ""],
  ["for a browser", "/media/1", { authorization: "Bearer right", origin: "http://127.0.0.1" }, 403, ""],
  ["of a message without one", "/media/3", { authorization: "Bearer right" }, 404, ""],
  ["of no message", "/media/9", { authorization: "Bearer right" }, 404, ""],
  ["by a path", "/../etc/passwd", { authorization: "Bearer right" }, 404, ""],
  ["that WhatsApp has no more", "/media/2", { authorization: "Bearer right" }, 502, "it is gone"],
];
for (const [what, path, headers, status, body] of files)
  test(`a file ${what}`, async () => {
    arrives("a", "the file");
    arrives("b", "gone");
    arrives("c");
    const got = await fetched(path, headers);
    assert.deepEqual(got, [status, body]);
  });

function fetched(path: string, headers: Record<string, string>): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    httpGet({ host: "127.0.0.1", port, path, headers }, (response) => {
      let body = "";
      response.on("data", (chunk) => (body += String(chunk)));
      response.on("end", () => resolve([response.statusCode ?? 0, body]));
    }).on("error", reject);
  });
}
