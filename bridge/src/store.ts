/**
 * What must outlive the bridge: messages that the client has not acknowledged, and which sends WhatsApp has taken.
 *
 * `Inbox.add` returns when the message is on disk (fsync); it is kept until it is acknowledged, and its number is never used
 * again. An acknowledgement is written without fsync: lost, the message is sent once more, and the client knows its id.
 * It is bounded by asking its owner to stop reading from WhatsApp when `full`; WhatsApp keeps messages for us then.
 */

import { appendFileSync, closeSync, fdatasyncSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import type { Incoming } from "./frames.js";

export interface Kept {
  seq: number;
  frame: Incoming;
  /** What is needed to fetch its file, for whoever wrote it. */
  raw?: string;
}

export interface Bounds {
  messages: number;
  bytes: number;
}

/** A month of a busy group, or a few seconds of a flood; it is held in memory too. */
export const BOUNDS: Bounds = { messages: 10_000, bytes: 64 * 1024 * 1024 };
/** Ids that are remembered, so that what Baileys tells twice is kept once. */
const RECENT = 2_000;
/** Bytes of a log that may be dead before it is written anew. */
const DEAD = 1024 * 1024;
/** Sends of about a day. */
const MOST_SENT = 5_000;

type Line = Kept | { ack: number } | { next: number };

/** A file of JSON lines. A torn line, which a power cut leaves, is left out. */
class Log<T> {
  private fd = -1;
  private torn = false;
  bytes = 0;

  constructor(private readonly path: string) {}

  /** The lines, and how many could not be read. Opens it for `append`. */
  open(): [T[], number] {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const lines: T[] = [];
    this.fd = openSync(this.path, "a+", 0o600);
    const text = readFileSync(this.path, "utf8");
    let unread = 0;
    for (const line of text.split("\n").filter(Boolean)) {
      try {
        lines.push(JSON.parse(line) as T);
      } catch {
        unread += 1;
      }
    }
    this.torn = text !== "" && !text.endsWith("\n");
    this.bytes = Buffer.byteLength(text);
    return [lines, unread];
  }

  append(line: T, sync: boolean): void {
    const data = `${this.torn ? "\n" : ""}${JSON.stringify(line)}\n`;
    this.torn = true;
    appendFileSync(this.fd, data);
    this.torn = false;
    this.bytes += Buffer.byteLength(data);
    if (sync) fdatasyncSync(this.fd);
  }

  /** Only these lines from now on. */
  rewrite(lines: T[]): void {
    const fresh = `${this.path}.new`;
    writeFileSync(fresh, lines.map((line) => `${JSON.stringify(line)}\n`).join(""), { mode: 0o600, flush: true });
    renameSync(fresh, this.path);
    syncFolder(dirname(this.path));
    this.close();
    this.open();
  }

  /** What is written then is an error, not another file's. */
  close(): void {
    closeSync(this.fd);
    this.fd = -1;
  }
}

export class Inbox {
  private readonly log: Log<Line>;
  private readonly kept = new Map<number, Kept>();
  private readonly recent = new Set<string>();
  private live = 0;
  /** The number of the newest message, acknowledged or not. */
  last = 0;
  /** Lines that could not be read. */
  readonly unread: number;

  constructor(
    folder: string,
    private readonly bounds: Bounds = BOUNDS,
  ) {
    this.log = new Log<Line>(join(folder, "inbox.jsonl"));
    const [lines, unread] = this.log.open();
    this.unread = unread;
    for (const line of lines) this.replay(line);
    for (const one of this.kept.values()) this.remember(one.frame);
    syncFolder(folder);
  }

  get size(): number {
    return this.kept.size;
  }

  /** Nothing more should be read from WhatsApp. What comes all the same is kept. */
  get full(): boolean {
    return this.kept.size >= this.bounds.messages || this.live >= this.bounds.bytes;
  }

  /** There is room again for a good while. */
  get roomy(): boolean {
    return this.kept.size <= this.bounds.messages / 2 && this.live <= this.bounds.bytes / 2;
  }

  /** False if it was there already. Throws where the disk refuses: then it is not kept. */
  add(frame: Incoming, raw?: string): boolean {
    if (this.recent.has(name(frame))) return false;
    const one: Kept = raw === undefined ? { seq: this.last + 1, frame } : { seq: this.last + 1, frame, raw };
    this.log.append(one, true);
    this.hold(one);
    this.remember(frame);
    return true;
  }

  /** Of a number that is not waiting: nothing. */
  ack(seq: number): void {
    const one = this.kept.get(seq);
    if (one === undefined) return;
    this.drop(one);
    this.log.append({ ack: seq }, false);
    if (this.log.bytes > 2 * this.live + DEAD) this.log.rewrite([{ next: this.last + 1 }, ...this.kept.values()]);
  }

  get(seq: number): Kept | undefined {
    return this.kept.get(seq);
  }

  /** The first that waits behind this number. */
  after(seq: number): Kept | undefined {
    for (const one of this.kept.values()) if (one.seq > seq) return one;
    return undefined;
  }

  close(): void {
    this.log.close();
  }

  private replay(line: Line): void {
    if ("ack" in line) {
      const one = this.kept.get(line.ack);
      if (one !== undefined) this.drop(one);
    } else if ("next" in line) this.last = Math.max(this.last, line.next - 1);
    else this.hold(line);
  }

  private hold(one: Kept): void {
    this.kept.set(one.seq, one);
    this.last = Math.max(this.last, one.seq);
    this.live += weight(one);
  }

  private drop(one: Kept): void {
    this.kept.delete(one.seq);
    this.live -= weight(one);
  }

  private remember(frame: Incoming): void {
    this.recent.add(name(frame));
    for (const oldest of this.recent) {
      if (this.recent.size <= RECENT) break;
      this.recent.delete(oldest);
    }
  }
}

/** Which sends WhatsApp has confirmed, by the client's reference: one that comes again is not sent again. */
export class Sent {
  private readonly log: Log<{ ref: string; id: string }>;
  private readonly ids = new Map<string, string>();
  private lines = 0;

  constructor(folder: string) {
    this.log = new Log(join(folder, "sent.jsonl"));
    for (const { ref, id } of this.log.open()[0]) this.note(ref, id);
  }

  get(ref: string): string | undefined {
    return this.ids.get(ref);
  }

  /** Without fsync: after a power cut a send may go out again, under the same id. Throws where the disk refuses. */
  add(ref: string, id: string): void {
    this.note(ref, id);
    this.log.append({ ref, id }, false);
    if (this.lines < 2 * MOST_SENT) return;
    this.log.rewrite([...this.ids].map(([ref, id]) => ({ ref, id })));
    this.lines = this.ids.size;
  }

  close(): void {
    this.log.close();
  }

  private note(ref: string, id: string): void {
    this.ids.set(ref, id);
    this.lines += 1;
    for (const oldest of this.ids.keys()) {
      if (this.ids.size <= MOST_SENT) break;
      this.ids.delete(oldest);
    }
  }
}

function name(frame: Incoming): string {
  return `${frame.sender} ${frame.id}`;
}

/** Bytes of its line. */
function weight(one: Kept): number {
  return Buffer.byteLength(JSON.stringify(one)) + 1;
}

export function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  fsyncSync(fd);
  closeSync(fd);
}
