/**
 * The websocket for the one client, nanobot, and the files of messages by HTTP beside it. Bound to 127.0.0.1.
 *
 * * The token is wanted in the first frame, within `AUTH_MS`, and for each file; what a browser sends (an Origin) is refused.
 * * Messages go out in the order of their numbers, `WINDOW` at a time; a new connection gets again what was not acknowledged.
 * * A second client is refused while the first answers, so that two programs never share one account without being told.
 * * A send that comes again while it is under way, or after WhatsApp has confirmed it, is answered and not sent again.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import { type WebSocket, WebSocketServer } from "ws";

import { BadFrame, type BridgeFrame, type ClientFrame, type Media, MOST_FRAME, readFrame, type Send, type Status, VERSION } from "./frames.js";
import type { Inbox, Kept, Sent } from "./store.js";

export interface Log {
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

/** What WhatsApp has refused, or not taken yet. */
export class NotSent extends Error {
  constructor(
    text: string,
    readonly permanent = false,
  ) {
    super(text);
  }
}

/** The other side of the bridge: whatsapp.ts. */
export interface Network {
  readonly status: Status;
  /** The code to be scanned, while that is waited for. */
  readonly qr: string | undefined;
  /** The network's id, once it has confirmed the message. Rejects: NotSent. */
  send(frame: Send): Promise<string>;
  typing(to: string): Promise<void>;
  read(to: string, id: string, participant: string | undefined): Promise<void>;
  /** The file of a message. Rejects where it cannot be had. */
  file(kept: Kept): Promise<Readable>;
  /** There is room in the inbox again, perhaps. */
  acked(): void;
}

export interface Pace {
  authMs: number;
  pingMs: number;
  /** For the answer of a client to whom a second one is a rival. */
  rivalMs: number;
}

export const PACE: Pace = { authMs: 5_000, pingMs: 15_000, rivalMs: 2_000 };
/** Messages that may wait for their acknowledgement at a time. */
const WINDOW = 64;
/** Bytes of messages that may wait for a client to read them; the rest waits in the inbox. */
const MOST_UNREAD = 4 * 1024 * 1024;
/** Connections that have not shown a token. */
const MOST_UNKNOWN = 16;

export const TOO_LATE = 4001;
export const OTHER_VERSION = 4002;
export const WRONG_TOKEN = 4003;
export const TAKEN = 4009;
const BAD_FRAME = 1008;

interface Client {
  socket: WebSocket;
  /** The newest message that it was sent. */
  cursor: number;
  open: Set<number>;
  alive: boolean;
}

export class Server {
  private readonly http: HttpServer;
  private readonly sockets: WebSocketServer;
  private readonly digest: Buffer;
  private client: Client | undefined;
  private readonly unknown = new Set<WebSocket>();
  /** Under way, by reference. */
  private readonly sending = new Map<string, Promise<BridgeFrame>>();
  private readonly pinging: NodeJS.Timeout;

  constructor(
    token: string,
    private readonly inbox: Inbox,
    private readonly sent: Sent,
    private readonly network: Network,
    private readonly log: Log,
    private readonly pace: Pace = PACE,
  ) {
    if (token === "") throw new Error("a token is wanted");
    this.digest = sha256(token);
    this.http = createServer((request, response) => void this.serveFile(request, response));
    this.sockets = new WebSocketServer({ noServer: true, maxPayload: MOST_FRAME });
    this.http.on("upgrade", (request, socket, head) => {
      socket.on("error", () => {}); // no longer the HTTP server's to hear
      if (request.headers.origin !== undefined) refuse(socket, "403 Forbidden");
      else if (this.unknown.size >= MOST_UNKNOWN) refuse(socket, "503 Service Unavailable");
      else this.sockets.handleUpgrade(request, socket, head, (ws) => this.meet(ws));
    });
    this.pinging = setInterval(() => this.ping(), pace.pingMs);
  }

  /** Resolves to the port. Rejects where it is taken. */
  async listen(port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.http.once("error", reject);
      this.http.listen(port, "127.0.0.1", resolve);
    });
    this.http.on("error", (error) => this.log.warn(`a connection was not taken: ${error.message}`));
    return (this.http.address() as AddressInfo).port;
  }

  close(): void {
    clearInterval(this.pinging);
    for (const socket of this.sockets.clients) socket.terminate();
    this.http.close();
    this.http.closeAllConnections();
  }

  // --- told by the network's side

  status(status: Status): void {
    this.tell({ type: "status", status });
  }

  qr(qr: string): void {
    this.tell({ type: "qr", qr });
  }

  /** There may be something new in the inbox. */
  pump(): void {
    const client = this.client;
    while (client !== undefined && client.open.size < WINDOW && client.socket.bufferedAmount < MOST_UNREAD) {
      const kept = this.inbox.after(client.cursor);
      if (kept === undefined) return;
      client.cursor = kept.seq;
      client.open.add(kept.seq);
      this.tell({ type: "message", seq: kept.seq, ...kept.frame, ...mediaOf(kept) }, () => this.pump());
    }
  }

  // --- a connection

  private meet(socket: WebSocket): void {
    this.unknown.add(socket);
    const late = setTimeout(() => socket.close(TOO_LATE, "no token came"), this.pace.authMs);
    socket.on("error", (error) => this.log.warn(`a client's connection: ${error.message}`));
    socket.on("close", () => {
      clearTimeout(late);
      this.unknown.delete(socket);
      if (this.client?.socket === socket) {
        this.client = undefined;
        this.log.info("nanobot has left");
      }
    });
    socket.once("message", (data) => {
      clearTimeout(late);
      void this.admit(socket, data.toString());
    });
  }

  private async admit(socket: WebSocket, data: string): Promise<void> {
    const frame = read(data);
    if (frame instanceof BadFrame || frame.type !== "auth" || !timingSafeEqual(sha256(frame.token), this.digest)) {
      this.log.warn("a client was refused: its token is wrong");
      return socket.close(WRONG_TOKEN, "the token is wrong");
    }
    if (frame.version !== VERSION) return socket.close(OTHER_VERSION, `this bridge speaks version ${VERSION}`);
    if (this.client !== undefined && (await this.answers(this.client))) {
      this.log.warn("a second client was refused: one is connected");
      return socket.close(TAKEN, "another client is connected");
    }
    this.client?.socket.terminate();
    if (socket.readyState !== socket.OPEN) return;
    this.unknown.delete(socket);
    this.client = { socket, cursor: 0, open: new Set(), alive: true };
    const client = this.client;
    socket.on("message", (more) => this.take(client, more.toString()));
    socket.on("pong", () => (client.alive = true));
    this.log.info("nanobot is connected");
    this.tell({ type: "ready", version: VERSION, status: this.network.status });
    if (this.network.qr !== undefined) this.qr(this.network.qr);
    this.pump();
  }

  private answers(client: Client): Promise<boolean> {
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(false), this.pace.rivalMs);
      const answer = (yes: boolean) => () => {
        clearTimeout(late);
        resolve(yes);
      };
      client.socket.once("pong", answer(true));
      client.socket.once("close", answer(false));
      client.socket.ping();
    });
  }

  private take(client: Client, data: string): void {
    const frame = read(data);
    if (frame instanceof BadFrame) {
      this.log.warn(`a frame was refused: ${frame.message}`);
      return client.socket.close(BAD_FRAME, `a frame was refused: ${frame.message}`);
    }
    switch (frame.type) {
      case "auth":
        return;
      case "ack":
        client.open.delete(frame.seq);
        this.guard("an acknowledgement was not written", () => this.inbox.ack(frame.seq));
        this.network.acked();
        return this.pump();
      case "send":
        return void this.send(frame).then((answer) => this.tell(answer));
      case "typing":
        return this.quietly(this.network.typing(frame.to));
      case "read":
        return this.quietly(this.network.read(frame.to, frame.id, frame.participant));
    }
  }

  private send(frame: Send): Promise<BridgeFrame> {
    const { ref } = frame;
    const before = this.sent.get(ref);
    if (before !== undefined) return Promise.resolve({ type: "sent", ref, id: before });
    const underWay = this.sending.get(ref);
    if (underWay !== undefined) return underWay;
    const sending = this.attempt(frame).finally(() => this.sending.delete(ref));
    this.sending.set(ref, sending);
    return sending;
  }

  private async attempt(frame: Send): Promise<BridgeFrame> {
    const { ref } = frame;
    try {
      const id = await this.network.send(frame);
      this.guard("a sent message was not noted", () => this.sent.add(ref, id));
      return { type: "sent", ref, id };
    } catch (error) {
      const permanent = error instanceof NotSent && error.permanent;
      return { type: "error", ref, error: (error as Error).message, permanent };
    }
  }

  private tell(frame: BridgeFrame, gone?: () => void): void {
    this.client?.socket.send(JSON.stringify(frame), gone);
  }

  private ping(): void {
    if (this.client === undefined) return;
    if (!this.client.alive) return this.client.socket.terminate();
    this.client.alive = false;
    this.client.socket.ping();
  }

  private quietly(work: Promise<void>): void {
    work.catch((error: Error) => this.log.warn(`not done: ${error.message}`));
  }

  private guard(what: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.log.error(`${what}: ${(error as Error).message}`);
    }
  }

  // --- files

  private async serveFile(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    if (request.headers.origin !== undefined || token === undefined || !timingSafeEqual(sha256(token), this.digest)) {
      return void response.writeHead(403).end();
    }
    const seq = /^\/media\/(\d{1,15})$/.exec(request.url ?? "")?.[1];
    const kept = request.method === "GET" && seq !== undefined ? this.inbox.get(Number(seq)) : undefined;
    if (kept?.raw === undefined) return void response.writeHead(404).end();
    try {
      const file = await this.network.file(kept);
      response.writeHead(200, { "Content-Type": "application/octet-stream" });
      await pipeline(file, response);
    } catch (error) {
      this.log.warn(`a file cannot be had: ${(error as Error).message}`);
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end((error as Error).message);
    }
  }
}

function refuse(socket: Duplex, status: string): void {
  socket.once("finish", () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}

function mediaOf({ seq, frame }: Kept): { media?: Media[] } {
  return frame.media ? { media: frame.media.map((file) => ({ ...file, url: `/media/${seq}` })) } : {};
}

function read(data: string): ClientFrame | BadFrame {
  try {
    return readFrame(data);
  } catch (error) {
    if (error instanceof BadFrame) return error;
    throw error;
  }
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
