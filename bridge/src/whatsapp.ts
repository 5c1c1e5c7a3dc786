/**
 * The side of WhatsApp: one connection by Baileys, made again by a growing delay, and what is done through it.
 *
 * * A message is in the inbox before WhatsApp is told that we have it. Baileys confirms a message and tells of it afterwards,
 *   in part a good while afterwards; so it is taken where Baileys notes it, which is after it was decrypted and before it is
 *   confirmed (`tap`). What Baileys tells later is taken too, and known then.
 * * While the inbox is full or the disk refuses there is no connection: WhatsApp keeps what comes for us. What was decrypted
 *   when the disk refused is held until it takes it: the keys are used up, so what WhatsApp would give again is unreadable.
 * * The id of a message that we send is made of the client's reference, so that one which is sent twice is one message to
 *   those who get it, as when WhatsApp's own programs repeat themselves after a bad connection.
 */

import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";

import type { AnyMessageContent, BinaryNode, ConnectionState, WAMessage, WASocket, WAVersion } from "baileys";

import { type Auth, forgetLink, openAuth } from "./auth.js";
import type { Incoming, Send, SendMedia, Status } from "./frames.js";
import type { Library } from "./library.js";
import { type Log, type Network, NotSent } from "./server.js";
import type { Inbox, Kept } from "./store.js";
import { translate } from "./translate.js";

export interface Listener {
  status(status: Status): void;
  qr(qr: string): void;
  pump(): void;
}

export interface Delays {
  firstMs: number;
  longestMs: number;
  /** A connection that has lasted so long ends the row of failures. */
  healthyMs: number;
  /** For WhatsApp's word that it has a message. */
  ackMs: number;
}

export const DELAYS: Delays = { firstMs: 1_000, longestMs: 60_000, healthyMs: 60_000, ackMs: 20_000 };
/** Heads of stanzas that were not decrypted yet, or never can be, some 500 bytes each. */
const MOST_STANZAS = 20_000;
const MOST_FILE = 2_000_000_000; // bytes; WhatsApp's own for documents

const LOGGED_OUT = 401;
const FORBIDDEN = 403;
const OLD_VERSION = 405;
const REPLACED = 440;
const RESTART = 515;
/** Errors of a message that may pass: too many at once, a session that is stale, and the server's own. */
const PASSING = /^(429|479|5\d\d)$/;

interface Waiting {
  resolve(): void;
  reject(error: Error): void;
}

export class WhatsApp implements Network {
  status: Status = "connecting";
  qr: string | undefined;
  private socket: WASocket | undefined;
  private auth: Auth | undefined;
  private listener: Listener | undefined;
  private version: WAVersion | undefined;
  private readonly unconfirmed = new Map<string, Waiting>();
  /** What is to be kept, or the disk has refused. */
  private readonly held: [Incoming, string | undefined][] = [];
  /** Who waits for a connection. */
  private readonly forConnection: (() => void)[] = [];
  private readonly stopping = new AbortController();
  private wake = (): void => {};

  constructor(
    private readonly folder: string,
    private readonly inbox: Inbox,
    private readonly library: Library,
    private readonly log: Log,
    private readonly delays: Delays = DELAYS,
  ) {}

  /** Keeps a connection until `stop`. Rejects where the link cannot be read. */
  async run(listener: Listener): Promise<void> {
    this.listener = listener;
    this.auth = await openAuth(this.folder, this.library);
    for (let failures = 0, last = 0, code = 0; !this.stopping.signal.aborted; last = code) {
      const began = Date.now();
      code = this.inbox.full || !this.kept() ? 0 : await this.live(this.auth);
      await this.auth.settled();
      if (this.stopping.signal.aborted) return;
      if (code === RESTART && last !== RESTART) continue; // what WhatsApp asks for after a new link
      failures = Date.now() - began > this.delays.healthyMs ? 1 : failures + 1;
      await this.after(code, Math.min(this.delays.firstMs * 2 ** (failures - 1), this.delays.longestMs));
    }
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.socket?.end(undefined);
    await this.auth?.settled();
    this.kept();
  }

  // --- one connection

  /** Resolves to the code of its end. */
  private async live(auth: Auth): Promise<number> {
    this.say("connecting");
    const socket = this.library.makeWASocket({
      auth: { creds: auth.state.creds, keys: this.library.makeCacheableSignalKeyStore(auth.state.keys, silent) },
      logger: silent,
      browser: ["nanobot", "cli", "2"],
      ...(this.version ? { version: this.version } : {}),
      syncFullHistory: false,
      shouldSyncHistoryMessage: () => false,
      markOnlineOnConnect: false,
      emitOwnEvents: false,
      shouldIgnoreJid: (jid) => !!this.library.isJidBroadcast(jid) || !!this.library.isJidNewsletter(jid),
    });
    this.socket = socket;
    socket.ev.on("creds.update", () => void auth.save().catch((error: Error) => this.log.error(`the link was not written: ${error.message}`)));
    this.tap(socket);
    socket.ev.on("messages.upsert", ({ messages }) => {
      for (const message of messages) this.takeOr(socket, message, () => {});
    });
    socket.ws.on("CB:ack,class:message", (node: BinaryNode) => this.confirmed(node.attrs["id"], node.attrs["error"]));
    const code = await new Promise<number>((resolve) => {
      socket.ev.on("connection.update", (update) => {
        this.news(update);
        if (update.connection === "close") resolve(codeOf(update));
      });
    });
    this.socket = undefined;
    this.qr = undefined;
    for (const one of this.unconfirmed.values()) one.reject(new NotSent("the connection to WhatsApp ended before it confirmed"));
    this.unconfirmed.clear();
    return code;
  }

  private news(update: Partial<ConnectionState>): void {
    if (update.qr !== undefined) {
      this.qr = update.qr;
      this.say("unlinked");
      this.listener?.qr(update.qr);
    }
    if (update.connection === "open") {
      this.qr = undefined;
      this.say("connected");
      for (const resolve of this.forConnection.splice(0)) resolve();
      this.log.info("connected to WhatsApp");
    }
  }

  /** What follows from the end of a connection. */
  private async after(code: number, delayMs: number): Promise<void> {
    if (code === LOGGED_OUT) {
      this.log.warn("WhatsApp has ended the link; a new one is needed");
      await forgetLink(this.folder);
      this.auth = await openAuth(this.folder, this.library);
    }
    if (code === OLD_VERSION) this.version = (await this.library.fetchLatestWaWebVersion()).version;
    const ends: Partial<Record<number, Status>> = { [LOGGED_OUT]: "unlinked", [FORBIDDEN]: "refused", [REPLACED]: "replaced" };
    const status = this.inbox.full ? "full" : (ends[code] ?? "disconnected");
    this.say(status);
    if (status === "full") {
      this.log.warn(`${this.inbox.size} messages wait for nanobot: WhatsApp keeps what comes now`);
      while (!this.inbox.roomy && !this.stopping.signal.aborted) await this.pause(this.delays.longestMs);
      return;
    }
    this.log.info(`no connection to WhatsApp (${code}), next attempt in ${Math.round(delayMs / 1000)} s`);
    await this.pause(code === REPLACED || code === FORBIDDEN ? this.delays.longestMs : delayMs);
  }

  private async pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, ms);
    });
  }

  private say(status: Status): void {
    if (status === this.status) return;
    this.status = status;
    this.listener?.status(status);
  }

  // --- in

  /** See the module. Where Baileys has no such place, or another message than it says, its event is what is left. */
  private tap(socket: WASocket): void {
    const stanzas = new Map<string, BinaryNode>();
    const manager = socket.messageRetryManager;
    if (!manager) return this.log.warn("this version of Baileys tells of messages only after it has confirmed them");
    socket.ws.prependListener("CB:message", (stanza: BinaryNode) => {
      const id = stanza.attrs["id"];
      if (id !== undefined) stanzas.set(`${stanza.attrs["from"]} ${id}`, { tag: stanza.tag, attrs: stanza.attrs });
      for (const oldest of stanzas.keys()) {
        if (stanzas.size <= MOST_STANZAS) break;
        stanzas.delete(oldest);
      }
    });
    const note = manager.addRecentMessage.bind(manager);
    manager.addRecentMessage = (chat, id, message) => {
      const stanza = stanzas.get(`${chat} ${id}`);
      const me = socket.user;
      if (stanza !== undefined && me !== undefined) {
        stanzas.delete(`${chat} ${id}`);
        const { fullMessage } = this.library.decodeMessageNode(stanza, me.id, me.lid ?? "");
        this.takeOr(socket, { ...fullMessage, message } as WAMessage, (error) => {
          throw error; // so that Baileys does not confirm it
        });
      }
      note(chat, id, message);
    };
  }

  private takeOr(socket: WASocket, message: WAMessage, refused: (error: Error) => void): void {
    try {
      this.take(socket, message);
    } catch (error) {
      this.log.error(`a message cannot be kept, so WhatsApp is left until it can: ${(error as Error).message}`);
      void socket.end(error as Error);
      refused(error as Error);
    }
  }

  private take(socket: WASocket, message: WAMessage): void {
    const { user } = socket;
    if (user === undefined) return;
    const frame = translate(message, { id: user.id, lid: user.lid }, this.library);
    if (frame === undefined) return;
    this.held.push([frame, frame.media ? this.raw(message) : undefined]);
    this.keep();
    if (this.inbox.full) void socket.end(undefined);
  }

  /** What is held, in order. Throws where the disk refuses. */
  private keep(): void {
    for (let first = this.held[0]; first !== undefined; first = this.held[0]) {
      if (this.inbox.add(...first)) this.listener?.pump();
      this.held.shift();
    }
  }

  private kept(): boolean {
    try {
      this.keep();
      return true;
    } catch (error) {
      this.log.error(`${this.held.length} messages cannot be kept yet: ${(error as Error).message}`);
      return false;
    }
  }

  private raw(message: WAMessage): string {
    const { Message } = this.library.proto;
    const bytes = Message.encode(Message.fromObject(message.message as Record<string, unknown>)).finish();
    return JSON.stringify({ key: message.key, message: Buffer.from(bytes).toString("base64") });
  }

  /** Waits for a connection, as long as whoever asks: a message that waited for nanobot is asked for before there is one. */
  async file(kept: Kept): Promise<Readable> {
    while (this.status !== "connected") await new Promise<void>((resolve) => this.forConnection.push(resolve));
    const socket = this.up();
    const { key, message } = JSON.parse(kept.raw ?? "") as { key: WAMessage["key"]; message: string };
    const whole = { key, message: this.library.proto.Message.decode(Buffer.from(message, "base64")) } as WAMessage;
    const context = { logger: silent, reuploadRequest: socket.updateMediaMessage };
    return (await this.library.downloadMediaMessage(whole, "stream", {}, context)) as Readable;
  }

  acked(): void {
    if (this.inbox.roomy) this.wakeWhenFull();
  }

  private wakeWhenFull(): void {
    if (this.status === "full") this.wake();
  }

  // --- out

  async send(frame: Send): Promise<string> {
    const socket = this.up();
    const content = "text" in frame ? ({ text: frame.text, linkPreview: null } as const) : await contentOf(frame);
    const id = idOf(frame.ref);
    const confirmed = this.confirmation(id);
    try {
      await Promise.all([socket.sendMessage(frame.to, content, { messageId: id }), confirmed]);
      return id;
    } catch (error) {
      if (error instanceof NotSent) throw error;
      throw new NotSent(`WhatsApp's side failed: ${(error as Error).message}`);
    } finally {
      this.unconfirmed.delete(id);
    }
  }

  private confirmation(id: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new NotSent("WhatsApp has not confirmed it in time")), this.delays.ackMs);
      const ended = <T extends unknown[]>(work: (...of: T) => void) => (...of: T) => {
        clearTimeout(late);
        work(...of);
      };
      this.unconfirmed.set(id, { resolve: ended(resolve), reject: ended(reject) });
    });
  }

  private confirmed(id: string | undefined, error: string | undefined): void {
    const waiting = this.unconfirmed.get(id ?? "");
    if (error === undefined) return waiting?.resolve();
    const why = error === "463" ? "WhatsApp lets this account begin no new chats for now" : `WhatsApp refused it (${error})`;
    waiting?.reject(new NotSent(why, !PASSING.test(error)));
  }

  async typing(to: string): Promise<void> {
    await this.up().sendPresenceUpdate("composing", to);
  }

  async read(to: string, id: string, participant: string | undefined): Promise<void> {
    await this.up().readMessages([{ remoteJid: to, id, ...(participant ? { participant } : {}) }]);
  }

  private up(): WASocket {
    if (this.socket === undefined || this.status !== "connected") throw new NotSent("WhatsApp is not connected");
    return this.socket;
  }
}

/** In the form that WhatsApp's own web page gives its ids. */
export function idOf(ref: string): string {
  return `3EB0${createHash("sha256").update(ref).digest("hex").slice(0, 18).toUpperCase()}`;
}

function codeOf(update: Partial<ConnectionState>): number {
  const error = update.lastDisconnect?.error as { output?: { statusCode?: number } } | undefined;
  return error?.output?.statusCode ?? 0;
}

/** Rejects: NotSent. */
async function contentOf(frame: SendMedia): Promise<AnyMessageContent> {
  const { media, mimetype, caption, fileName } = frame;
  const about = await stat(media).catch(() => undefined);
  if (!about?.isFile()) throw new NotSent(`there is no file ${media}`, true);
  if (about.size > MOST_FILE) throw new NotSent(`${media} is larger than WhatsApp takes`, true);
  const file = { url: media };
  const words = caption ? { caption } : {};
  const kind = mimetype.split("/")[0];
  if (/^audio\/(ogg|opus)/.test(mimetype)) return { audio: file, ptt: true, mimetype: "audio/ogg; codecs=opus" };
  if (kind === "audio") return { audio: file, mimetype };
  if (/^image\/(jpeg|png|webp)$/.test(mimetype)) return { image: file, mimetype, ...words };
  if (mimetype === "video/mp4") return { video: file, mimetype, ...words };
  return { document: file, mimetype, fileName: fileName ?? "file", ...words };
}

/** Baileys' own log holds what people write; what counts is said by us. */
const silent = {
  level: "silent",
  child: () => silent,
  trace: () => {},
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};
