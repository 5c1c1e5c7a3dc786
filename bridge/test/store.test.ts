/** What is on disk survives; what is acknowledged does not come again; numbers are never used twice. */

import assert from "node:assert/strict";
import { appendFileSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

import type { Incoming } from "../src/frames.js";
import { Inbox, Sent } from "../src/store.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "inbox-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function message(id: string, content = "hi"): Incoming {
  return { id, sender: "1@lid", pn: "", content, timestamp: 1, isGroup: false };
}

function waiting(inbox: Inbox): string[] {
  const found = [];
  for (let one = inbox.after(0); one !== undefined; one = inbox.after(one.seq)) found.push(one.frame.id);
  return found;
}

test("what is not acknowledged comes again, in order", () => {
  const first = new Inbox(folder);
  for (const id of ["a", "b", "c"]) first.add(message(id), `raw ${id}`);
  first.ack(2);
  const again = new Inbox(folder);
  assert.deepEqual(waiting(again), ["a", "c"]);
  assert.equal(again.get(3)?.raw, "raw c");
});

test("a number is never used again, though all is acknowledged and the log was written anew", () => {
  const inbox = new Inbox(folder);
  inbox.add(message("big", "x".repeat(3 * 1024 * 1024)));
  inbox.ack(1);
  assert.ok(statSync(join(folder, "inbox.jsonl")).size < 100);
  const again = new Inbox(folder);
  again.add(message("b"));
  assert.equal(again.last, 2);
});

test("what is told twice is kept once, also over a restart", () => {
  const inbox = new Inbox(folder);
  assert.deepEqual([inbox.add(message("a")), inbox.add(message("a"))], [true, false]);
  assert.equal(new Inbox(folder).add(message("a")), false);
});

test("a torn line is left out and spoils no other", () => {
  const inbox = new Inbox(folder);
  inbox.add(message("a"));
  appendFileSync(join(folder, "inbox.jsonl"), '{"seq": 2, "fra');
  const again = new Inbox(folder);
  assert.equal(again.unread, 1);
  again.add(message("b"));
  assert.deepEqual(waiting(new Inbox(folder)), ["a", "b"]);
});

test("a write that fails keeps nothing, and the next one is whole", () => {
  const inbox = new Inbox(folder);
  inbox.add(message("a"));
  inbox.close();
  assert.throws(() => inbox.add(message("b")));
  assert.deepEqual([inbox.size, waiting(inbox)], [1, ["a"]]);
});

test("what is closed writes into no other file", () => {
  const inbox = new Inbox(folder);
  inbox.close();
  const other = openSync(join(folder, "other"), "w");
  assert.throws(() => inbox.add(message("a")));
  closeSync(other);
  assert.equal(statSync(join(folder, "other")).size, 0);
});

test("an acknowledgement alone does not write the log anew, whatever letters wait in it", () => {
  const inbox = new Inbox(folder);
  for (let n = 0; n < 10; n += 1) inbox.add(message(`m${n}`, "\u3042".repeat(300_000)));
  const { ino } = statSync(join(folder, "inbox.jsonl"));
  inbox.ack(1);
  assert.equal(statSync(join(folder, "inbox.jsonl")).ino, ino);
});

test("full and roomy", () => {
  const inbox = new Inbox(folder, { messages: 4, bytes: 10_000 });
  for (const id of ["a", "b", "c"]) inbox.add(message(id));
  assert.deepEqual([inbox.full, inbox.roomy], [false, false]);
  inbox.add(message("d"));
  assert.equal(inbox.full, true);
  inbox.add(message("e"));
  assert.equal(inbox.size, 5);
  for (const seq of [1, 2, 3]) inbox.ack(seq);
  assert.deepEqual([inbox.full, inbox.roomy], [false, true]);
  inbox.add(message("f", "x".repeat(10_000)));
  assert.equal(inbox.full, true);
});

test("an acknowledgement of what does not wait is nothing", () => {
  const inbox = new Inbox(folder);
  inbox.add(message("a"));
  for (const seq of [7, 1, 1]) inbox.ack(seq);
  assert.equal(readFileSync(join(folder, "inbox.jsonl"), "utf8").split("\n").length, 3);
});

test("its files are closed to others", () => {
  new Inbox(folder).add(message("a"));
  assert.equal(statSync(join(folder, "inbox.jsonl")).mode & 0o777, 0o600);
});

test("what was sent is known after a restart, the newest 5,000", () => {
  const sent = new Sent(folder);
  for (let n = 0; n < 10_001; n += 1) sent.add(`r${n}`, `i${n}`);
  const again = new Sent(folder);
  assert.deepEqual([again.get("r10000"), again.get("r5001"), again.get("r5000")], ["i10000", "i5001", undefined]);
});
