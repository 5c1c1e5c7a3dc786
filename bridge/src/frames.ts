/** What is said on the websocket, as types, and the one reader of what clients send. The samples are in frames.json. */

export const VERSION = 2;
/** Bytes of one frame, either way: a text of `MOST_TEXT`, each character of it escaped with six, and the rest. */
export const MOST_FRAME = 8 * 1024 * 1024;
/** Characters of a message's text. WhatsApp's own programs send 65,536; what is longer than this was made by none of them. */
export const MOST_TEXT = 1024 * 1024;

export type Status = "connecting" | "connected" | "disconnected" | "unlinked" | "replaced" | "refused" | "full";

export interface Media {
  /** A path on the bridge's own address; good until the message is acknowledged. */
  url: string;
  mimetype: string;
  fileName?: string;
  size?: number;
}

export interface Quoted {
  id: string;
  sender: string;
  text: string;
  /** We wrote it. */
  fromMe?: boolean;
}

/** A message without the number that the store gives it. */
export interface Incoming {
  /** The network's id; an edit has `original@edit`. */
  id: string;
  /** The chat: a person, by LID or telephone number, or a group. */
  sender: string;
  /** Who wrote it by telephone number, empty if that is not known. */
  pn: string;
  content: string;
  /** Seconds since the epoch. */
  timestamp: number;
  isGroup: boolean;
  /** In a group, who wrote it. */
  participant?: string;
  media?: Media[];
  wasMentioned?: boolean;
  quoted?: Quoted;
  forwarded?: boolean;
}

export interface SendText {
  type: "send";
  ref: string;
  to: string;
  text: string;
}

export interface SendMedia {
  type: "send";
  ref: string;
  to: string;
  /** A file of this machine. */
  media: string;
  mimetype: string;
  caption?: string;
  fileName?: string;
}

export type Send = SendText | SendMedia;

export type ClientFrame =
  | { type: "auth"; token: string; version: number }
  | { type: "ack"; seq: number }
  | Send
  | { type: "typing"; to: string }
  | { type: "read"; to: string; id: string; participant?: string };

export type BridgeFrame =
  | { type: "ready"; version: typeof VERSION; status: Status }
  | { type: "status"; status: Status }
  | { type: "qr"; qr: string }
  | ({ type: "message"; seq: number } & Incoming)
  | { type: "sent"; ref: string; id: string }
  | { type: "error"; ref: string; error: string; permanent: boolean };

export class BadFrame extends Error {}

/** A chat or a person. */
export const JID = /^\d{1,20}(-\d{1,20})?@(s\.whatsapp\.net|lid|g\.us)$/;

type Fields = Record<string, unknown>;

/** Throws BadFrame. Fields that are not known are left out. */
export function readFrame(data: string): ClientFrame {
  const fields = objectOf(data);
  switch (fields["type"]) {
    case "auth":
      return { type: "auth", token: text(fields, "token"), version: count(fields, "version") };
    case "ack":
      return { type: "ack", seq: count(fields, "seq") };
    case "send":
      return readSend(fields);
    case "typing":
      return { type: "typing", to: jid(fields, "to") };
    case "read": {
      const read = { type: "read", to: jid(fields, "to"), id: text(fields, "id") } as const;
      return "participant" in fields ? { ...read, participant: jid(fields, "participant") } : read;
    }
    default:
      throw new BadFrame("its type is not known");
  }
}

function readSend(fields: Fields): Send {
  const head = { type: "send", ref: text(fields, "ref"), to: jid(fields, "to") } as const;
  if ("text" in fields === "media" in fields) throw new BadFrame("one of text and media is wanted");
  if ("text" in fields) return { ...head, text: text(fields, "text") };
  return {
    ...head,
    media: text(fields, "media"),
    mimetype: text(fields, "mimetype"),
    ...("caption" in fields ? { caption: text(fields, "caption", true) } : {}),
    ...("fileName" in fields ? { fileName: text(fields, "fileName") } : {}),
  };
}

function objectOf(data: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    throw new BadFrame("it is no JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new BadFrame("it is no object");
  return value as Fields;
}

function text(fields: Fields, name: string, empty = false): string {
  const value = fields[name];
  if (typeof value !== "string" || (value === "" && !empty)) throw new BadFrame(`${name} is no text`);
  return value;
}

function count(fields: Fields, name: string): number {
  const value = fields[name];
  if (!Number.isSafeInteger(value) || (value as number) < 1) throw new BadFrame(`${name} is no number from 1`);
  return value as number;
}

function jid(fields: Fields, name: string): string {
  const value = text(fields, name);
  if (!JID.test(value)) throw new BadFrame(`${name} is no chat`);
  return value;
}
