/** What messages become. The messages are made by Baileys' own models. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as baileys from "baileys";

import { MOST_FRAME } from "../src/frames.js";
import { translate } from "../src/translate.js";

const ME = { id: "4915199999999:7@s.whatsapp.net", lid: "999888777666555:7@lid" };
const PN = "4915112345678@s.whatsapp.net";
const LID = "111222333444555@lid";
const GROUP = "120363000000000001@g.us";

function frame(message: baileys.proto.IMessage, key: baileys.WAMessageKey = {}): unknown {
  const whole = baileys.proto.Message.decode(baileys.proto.Message.encode(baileys.proto.Message.fromObject(message)).finish());
  const found = translate({ key: { remoteJid: PN, id: "A", ...key }, message: whole, messageTimestamp: 5 }, ME, baileys);
  return found && JSON.parse(JSON.stringify(found));
}

const base = { id: "A", sender: PN, pn: PN, timestamp: 5, isGroup: false };

const texts: [string, baileys.proto.IMessage, string][] = [
  ["a text", { conversation: "hi" }, "hi"],
  ["a long text", { extendedTextMessage: { text: "hi" } }, "hi"],
  ["one that vanishes", { ephemeralMessage: { message: { conversation: "hi" } } }, "hi"],
  ["one to be seen once", { viewOnceMessageV2: { message: { imageMessage: { caption: "hi" } } } }, "hi"],
  ["a picture without words", { imageMessage: {} }, "[Image]"],
  ["a document with words", { documentWithCaptionMessage: { message: { documentMessage: { caption: "hi" } } } }, "hi"],
  ["a place", { locationMessage: { degreesLatitude: 1.5, degreesLongitude: 2, name: "Home" } }, "[Location: 1.5, 2, Home]"],
  ["a contact", { contactMessage: { displayName: "Ann", vcard: "BEGIN:VCARD\nTEL;waid=1:+49 1\nEND:VCARD" } }, "[Contact: Ann, +49 1]"],
  ["a poll", { pollCreationMessageV3: { name: "Tea?", options: [{ optionName: "yes" }, { optionName: "no" }] } }, "[Poll: Tea?: yes, no]"],
  ["what is not known", { orderMessage: { orderTitle: "x" } }, "[A message of a kind that cannot be read here: order]"],
];
for (const [what, message, content] of texts)
  test(`text of ${what}`, () => assert.deepEqual(frame(message), { ...base, content }));

const silent: [string, baileys.proto.IMessage, baileys.WAMessageKey?][] = [
  ["a reaction", { reactionMessage: { text: "x" } }],
  ["a deletion", { protocolMessage: { type: 0 } }],
  ["a key", { senderKeyDistributionMessage: { groupId: "x" } }],
  ["our own", { conversation: "hi" }, { fromMe: true }],
  ["a status", { conversation: "hi" }, { remoteJid: "status@broadcast", participant: PN }],
  ["a newsletter", { conversation: "hi" }, { remoteJid: "1@newsletter" }],
  ["a group's without an author", { conversation: "hi" }, { remoteJid: GROUP }],
  ["nothing", {}],
  ["a chat that is none", { conversation: "hi" }, { remoteJid: "no chat@lid" }],
  ["an empty text", { conversation: " " }],
];
for (const [what, message, key] of silent) test(`nobody answers ${what}`, () => assert.equal(frame(message, key), undefined));

const people: [string, baileys.WAMessageKey, object][] = [
  ["by number, on a second device", { remoteJid: "4915112345678:3@s.whatsapp.net" }, { sender: PN, pn: PN }],
  ["by LID, number told", { remoteJid: LID, remoteJidAlt: PN }, { sender: LID, pn: PN }],
  ["by LID, number unknown", { remoteJid: LID }, { sender: LID, pn: "" }],
  ["by number, LID told", { remoteJid: PN, remoteJidAlt: LID }, { sender: PN, pn: PN }],
  ["by a company's LID", { remoteJid: "111222333444555@hosted.lid", remoteJidAlt: "4915112345678@hosted" }, { sender: LID, pn: PN }],
  [
    "in a group",
    { remoteJid: GROUP, participant: "111222333444555:2@lid", participantAlt: PN },
    { sender: GROUP, pn: PN, isGroup: true, participant: LID },
  ],
];
for (const [what, key, expected] of people)
  test(`who wrote it: ${what}`, () => assert.deepEqual(frame({ conversation: "hi" }, key), { ...base, content: "hi", ...expected }));

const inGroup = { remoteJid: GROUP, participant: LID };
const group = { ...base, sender: GROUP, pn: "", isGroup: true, participant: LID };

test("meant by name, by LID or number; the name in front is left out", () => {
  for (const [number, jid] of [["999888777666555", ME.lid], ["4915199999999", "4915199999999@s.whatsapp.net"]]) {
    const message = { extendedTextMessage: { text: `@${number} /stop`, contextInfo: { mentionedJid: [jid ?? ""] } } };
    assert.deepEqual(frame(message, inGroup), { ...group, content: "/stop", wasMentioned: true });
  }
});

test("a name alone is a message", () => {
  const message = { extendedTextMessage: { text: "@999888777666555", contextInfo: { mentionedJid: [ME.lid] } } };
  assert.deepEqual(frame(message, inGroup), { ...group, content: "@999888777666555", wasMentioned: true });
});

test("meant by an answer to us; somebody else's name stays", () => {
  const contextInfo = { stanzaId: "B", participant: ME.lid, quotedMessage: { conversation: "before" } };
  assert.deepEqual(frame({ extendedTextMessage: { text: "@123 yes", contextInfo } }, inGroup), {
    ...group,
    content: "@123 yes",
    wasMentioned: true,
    quoted: { id: "B", sender: "4915199999999@s.whatsapp.net", text: "before", fromMe: true },
  });
});

test("an answer to somebody else is not for us", () => {
  const contextInfo = { stanzaId: "B", participant: "5:1@lid", quotedMessage: { imageMessage: { caption: "x".repeat(2000) } } };
  assert.deepEqual(frame({ extendedTextMessage: { text: "yes", contextInfo } }, inGroup), {
    ...group,
    content: "yes",
    quoted: { id: "B", sender: "5@lid", text: "x".repeat(1000) },
  });
});

test("forwarded", () => {
  const message = { extendedTextMessage: { text: "x", contextInfo: { isForwarded: true } } };
  assert.deepEqual(frame(message), { ...base, content: "x", forwarded: true });
});

test("an edit is a version of its message", () => {
  const protocolMessage = { type: 14, key: { id: "OLD", remoteJid: PN }, editedMessage: { conversation: "new" } };
  assert.deepEqual(frame({ editedMessage: { message: { protocolMessage } } }), { ...base, id: "OLD@A", content: "new" });
});

for (const messageTimestamp of [0, -5, 1.5, NaN, 1e300])
  test(`a time that is none: ${messageTimestamp}`, () => {
    const found = translate({ key: { remoteJid: PN, id: "A" }, message: { conversation: "hi" }, messageTimestamp }, ME, baileys);
    assert.ok(Math.abs((found?.timestamp ?? 0) - Date.now() / 1000) < 10);
  });

test("files, with what is known of them", () => {
  const file = { directPath: "/v/x", mediaKey: new Uint8Array(32) };
  const known = { mimetype: "application/pdf", fileName: "../a.pdf", fileLength: 12345 };
  assert.deepEqual(frame({ documentMessage: { ...file, ...known } }), {
    ...base,
    content: "[Document]",
    media: [{ url: "", mimetype: "application/pdf", fileName: "../a.pdf", size: 12345 }],
  });
  const voice = frame({ audioMessage: { ...file, ptt: true, mimetype: "audio/ogg; codecs=opus" } }) as { content: string; media: unknown[] };
  assert.deepEqual([voice.content, voice.media.length], ["[Voice Message]", 1]);
});

test("a file of a kind that is not said", () => {
  const found = frame({ imageMessage: { directPath: "/v/x", mimetype: "" } }) as { media: { mimetype: string }[] };
  assert.equal(found.media[0]?.mimetype, "application/octet-stream");
});

test("the worst that somebody can write is one frame", () => {
  const worst = "\u0001".repeat(2 ** 21);
  const contextInfo = { stanzaId: worst, participant: PN, quotedMessage: { conversation: worst } };
  const found = frame({ documentMessage: { directPath: "/v/x", caption: worst, fileName: `${worst}.pdf`, mimetype: worst, contextInfo } });
  assert.ok(Buffer.byteLength(JSON.stringify(found)) < MOST_FRAME - 1000);
  assert.match((found as { media: { fileName: string }[] }).media[0]?.fileName ?? "", /\.pdf$/);
  const protocolMessage = { type: 14, key: { id: worst, remoteJid: PN }, editedMessage: { conversation: worst } };
  assert.ok(Buffer.byteLength(JSON.stringify(frame({ protocolMessage }))) < MOST_FRAME - 1000);
});

test("a text of a megabyte is whole, one of two is cut", () => {
  const of = (length: number) => (frame({ conversation: "x".repeat(length) }) as { content: string }).content.length;
  assert.deepEqual([of(2 ** 20), of(2 ** 21)], [2 ** 20, 2 ** 20]);
});
