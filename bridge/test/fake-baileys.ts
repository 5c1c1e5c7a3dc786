/**
 * A socket of Baileys' whose WhatsApp is a test: JSON lines over TCP. It does things in the order of the real one: a message is
 * announced as a stanza, noted, confirmed to WhatsApp (`receipt`), and told of only then.
 *
 * From the test: `open`, `qr`, `linked`, `message {stanza, message}`, `ack {id, error?}`, `close {code}`.
 * To the test: `hello {linked}`, `receipt {id}`, `send {id, to, content}`, `presence`, `read`, `bye`.
 */

import { createHash } from "node:crypto";
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";

import type { AuthenticationCreds, BinaryNode, Contact, proto, UserFacingSocketConfig, WAMessage } from "baileys";

import type { Library } from "../src/library.js";

type Told = Record<string, unknown> & { op: string };

const ME: Contact = { id: "4915199999999:7@s.whatsapp.net", lid: "999888777666555:7@lid", name: "bot" };

class FakeSocket {
  readonly ev = new EventEmitter();
  readonly ws = new EventEmitter();
  readonly messageRetryManager = { addRecentMessage: (_chat: string, _id: string, _message: proto.IMessage): void => {} };
  private readonly creds: AuthenticationCreds;
  private readonly line: Socket;
  private ended = false;

  constructor(config: UserFacingSocketConfig, port: number) {
    this.creds = config.auth.creds;
    this.line = connect(port, "127.0.0.1", () => this.tell({ op: "hello", linked: this.user !== undefined }));
    this.line.on("error", () => {});
    this.line.on("close", () => this.close(428));
    createInterface({ input: this.line, crlfDelay: Infinity })
      .on("line", (text) => this.take(JSON.parse(text) as Told))
      .on("error", () => {});
    setImmediate(() => this.ev.emit("connection.update", { connection: "connecting" }));
  }

  get user(): Contact | undefined {
    return this.creds.me;
  }

  sendMessage = async (to: string, content: Record<string, unknown>, options: { messageId: string }): Promise<WAMessage> => {
    if (this.ended) throw new Error("Connection Closed");
    this.tell({ op: "send", id: options.messageId, to, content: withFile(content) });
    return { key: { id: options.messageId } };
  };

  sendPresenceUpdate = async (presence: string, to: string): Promise<void> => this.tell({ op: "presence", presence, to });

  readMessages = async (keys: unknown[]): Promise<void> => this.tell({ op: "read", keys });

  updateMediaMessage = async (message: WAMessage): Promise<WAMessage> => message;

  end = async (): Promise<void> => {
    this.tell({ op: "bye" });
    this.close(0);
  };

  private tell(what: Told): void {
    if (!this.line.destroyed) this.line.write(`${JSON.stringify(what)}\n`);
  }

  private take(told: Told): void {
    if (this.ended) return;
    switch (told.op) {
      case "open":
        return void this.ev.emit("connection.update", { connection: "open" });
      case "qr":
        return void this.ev.emit("connection.update", { qr: told["qr"] });
      case "linked":
        this.creds.me = { ...ME };
        this.ev.emit("creds.update", { me: this.creds.me });
        return this.close(515);
      case "message":
        return this.message(told["stanza"] as BinaryNode, told["message"] as proto.IMessage);
      case "ack":
        return void this.ws.emit("CB:ack,class:message", { tag: "ack", attrs: { id: told["id"], error: told["error"] } });
      case "close":
        return this.close(told["code"] as number);
    }
  }

  private message(stanza: BinaryNode, message: proto.IMessage): void {
    const [chat, id] = [stanza.attrs["from"] ?? "", stanza.attrs["id"] ?? ""];
    this.ws.emit("CB:message", stanza);
    try {
      this.messageRetryManager.addRecentMessage(chat, id, message);
    } catch {
      return;
    }
    this.tell({ op: "receipt", id });
    const { participant } = stanza.attrs;
    const key = { remoteJid: chat, id, fromMe: false, ...(participant ? { participant } : {}) };
    this.ev.emit("messages.upsert", { type: "append", messages: [{ key, message, messageTimestamp: Number(stanza.attrs["t"]) }] });
  }

  private close(code: number): void {
    if (this.ended) return;
    this.ended = true;
    this.line.destroy();
    this.ev.emit("connection.update", { connection: "close", lastDisconnect: { error: { output: { statusCode: code } }, date: new Date() } });
    this.ev.removeAllListeners();
  }
}

function withFile(content: Record<string, unknown>): Record<string, unknown> {
  for (const kind of ["image", "video", "audio", "document"]) {
    const file = content[kind] as { url: string } | undefined;
    if (file) return { ...content, [kind]: createHash("sha256").update(readFileSync(file.url)).digest("hex") };
  }
  return content;
}

/** The real Baileys with this socket, and files that stand in their messages (`directPath`: base64, or "gone"). */
export function fake(real: Library, port: number): Library {
  const makeWASocket = ((config: UserFacingSocketConfig) => new FakeSocket(config, port)) as unknown as Library["makeWASocket"];
  const downloadMediaMessage = (async (message: WAMessage) => {
    const media = Object.values(message.message ?? {}).find((one): one is { directPath: string } => !!(one as { directPath?: string })?.directPath);
    if (media === undefined || media.directPath === "gone") throw new Error("410: it is gone");
    return Readable.from([Buffer.from(media.directPath, "base64")]);
  }) as unknown as Library["downloadMediaMessage"];
  return { ...real, makeWASocket, downloadMediaMessage };
}
