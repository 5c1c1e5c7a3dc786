/** A message of WhatsApp's as the frame that nanobot is sent. Pure, but for what Baileys' own pure functions do. */

import type { proto, WAMessage } from "baileys";

import { type Incoming, JID, type Media, MOST_TEXT, type Quoted } from "./frames.js";
import type { Library } from "./library.js";

/** Our own two addresses. */
export interface Me {
  id: string;
  lid?: string | undefined;
}

/** Characters of a text that is quoted: as much as reminds of it. */
const MOST_QUOTED = 1_000;
/** Characters of an id, a kind of file, a file's name: their writers are strangers, and all of it is one frame. */
const MOST_WORD = 255;
const EDIT = 14; // proto.Message.ProtocolMessage.Type.MESSAGE_EDIT
/** What changes something else, or comes before or beside what counts. */
const SILENT = new Set([
  "albumMessage",
  "botInvokeMessage",
  "call",
  "encCommentMessage",
  "encEventResponseMessage",
  "encReactionMessage",
  "fastRatchetKeySenderKeyDistributionMessage",
  "keepInChatMessage",
  "messageContextInfo",
  "messageHistoryBundle",
  "messageHistoryNotice",
  "pinInChatMessage",
  "placeholderMessage",
  "pollUpdateMessage",
  "protocolMessage",
  "reactionMessage",
  "secretEncryptedMessage",
  "senderKeyDistributionMessage",
]);

interface Contents extends proto.IMessage {
  ptvMessage?: proto.Message.IVideoMessage | null;
}

/** What of a kind of message carries a context, a caption or a file. */
interface Body {
  contextInfo?: proto.IContextInfo | null;
  caption?: string | null;
  mimetype?: string | null;
  fileName?: string | null;
  fileLength?: number | { toString(): string } | null;
  url?: string | null;
  directPath?: string | null;
}

/** Undefined: nobody is to answer it. */
export function translate(message: WAMessage, me: Me, library: Library): Incoming | undefined {
  const { key } = message;
  const edit = editOf(message.message, library);
  const contents = library.normalizeMessageContent(edit?.editedMessage ?? message.message) as Contents | undefined;
  const chat = address(key.remoteJid, library);
  if (key.fromMe || !key.id || contents === undefined || !JID.test(chat)) return undefined;
  const kind = library.getContentType(contents) as keyof Contents | undefined;
  if (kind === undefined || SILENT.has(kind)) return undefined;

  const isGroup = chat.endsWith("@g.us");
  const participant = address(key.participant, library);
  if (isGroup && !JID.test(participant)) return undefined;
  const body = bodyOf(contents, kind);
  const context = body.contextInfo ?? undefined;
  const media = mediaOf(body, kind);
  const quoted = quotedOf(context, chat, me, library);
  const content = withoutMention(textOf(contents, kind), me, library).slice(0, MOST_TEXT);
  if (content.trim() === "" && media === undefined) return undefined;
  const mentioned = (context?.mentionedJid ?? []).some((jid) => isMe(jid, me, library)) || (quoted?.fromMe ?? false);
  return {
    id: (edit === undefined ? key.id : `${word(edit.key?.id)}@${key.id}`).slice(0, 2 * MOST_WORD),
    sender: chat,
    pn: phone(isGroup ? [participant, key.participantAlt] : [chat, key.remoteJidAlt], library),
    content,
    timestamp: timeOf(message),
    isGroup,
    ...(isGroup ? { participant } : {}),
    ...(media ? { media: [media] } : {}),
    ...(isGroup && mentioned ? { wasMentioned: true } : {}),
    ...(quoted ? { quoted } : {}),
    ...(context?.isForwarded ? { forwarded: true } : {}),
  };
}

/** Now, where it is not said, or is none. */
function timeOf(message: WAMessage): number {
  const said = Number(message.messageTimestamp?.toString());
  return Number.isSafeInteger(said) && said > 0 ? said : Math.floor(Date.now() / 1000);
}

function editOf(message: proto.IMessage | null | undefined, library: Library): proto.Message.IProtocolMessage | undefined {
  const protocol = library.normalizeMessageContent(message)?.protocolMessage;
  return protocol?.type === EDIT && protocol.editedMessage ? protocol : undefined;
}

function bodyOf(contents: Contents, kind: keyof Contents): Body {
  const body = contents[kind];
  return typeof body === "object" && body !== null ? (body as Body) : {};
}

/** A person's or chat's, without the device. Those of companies that let Meta answer for them have servers of their own. */
function address(jid: string | null | undefined, library: Library): string {
  return library.jidNormalizedUser(jid ?? "").replace(/@hosted$/, "@s.whatsapp.net").replace(/@hosted\.lid$/, "@lid");
}

function phone(candidates: (string | null | undefined)[], library: Library): string {
  return candidates.map((jid) => address(jid, library)).find((jid) => jid.endsWith("@s.whatsapp.net") && JID.test(jid)) ?? "";
}

function word(text: string | null | undefined): string {
  return (text ?? "").slice(-MOST_WORD);
}

function isMe(jid: string | undefined, me: Me, library: Library): boolean {
  return jid !== undefined && (library.areJidsSameUser(jid, me.id) || (!!me.lid && library.areJidsSameUser(jid, me.lid)));
}

/** `@number` in front is how WhatsApp writes that we are meant; commands stand behind it. */
function withoutMention(text: string, me: Me, library: Library): string {
  const numbers = [me.id, me.lid ?? ""].map((jid) => library.jidNormalizedUser(jid).split("@")[0]).filter(Boolean);
  const found = /^\s*@(\d+)\s*/.exec(text);
  const rest = found?.[1] !== undefined && numbers.includes(found[1]) ? text.slice(found[0].length) : text;
  return rest || text;
}

function quotedOf(context: proto.IContextInfo | undefined, chat: string, me: Me, library: Library): Quoted | undefined {
  if (!context?.stanzaId || !context.quotedMessage) return undefined;
  const contents = library.normalizeMessageContent(context.quotedMessage) as Contents | undefined;
  const kind = contents && (library.getContentType(contents) as keyof Contents | undefined);
  const [id, sender] = [word(context.stanzaId), word(address(context.participant ?? chat, library))];
  const text = contents && kind ? textOf(contents, kind).slice(0, MOST_QUOTED) : "";
  if (isMe(sender, me, library)) return { id, sender: library.jidNormalizedUser(me.id), text, fromMe: true };
  return { id, sender, text };
}

const MEDIA = new Set(["imageMessage", "videoMessage", "ptvMessage", "audioMessage", "documentMessage", "stickerMessage"]);

function mediaOf(body: Body, kind: string): Media | undefined {
  if (!MEDIA.has(kind) || !(body.url || body.directPath)) return undefined;
  const size = Number(body.fileLength?.toString() ?? NaN);
  return {
    url: "",
    mimetype: word(body.mimetype) || "application/octet-stream",
    ...(body.fileName ? { fileName: word(body.fileName) } : {}),
    ...(Number.isSafeInteger(size) ? { size } : {}),
  };
}

function textOf(contents: Contents, kind: keyof Contents): string {
  const caption = bodyOf(contents, kind).caption ?? "";
  switch (kind) {
    case "conversation":
      return contents.conversation ?? "";
    case "extendedTextMessage":
      return contents.extendedTextMessage?.text ?? "";
    case "imageMessage":
      return caption || "[Image]";
    case "videoMessage":
    case "ptvMessage":
      return caption || "[Video]";
    case "documentMessage":
      return caption || "[Document]";
    case "audioMessage":
      return contents.audioMessage?.ptt ? "[Voice Message]" : "[Audio]";
    case "stickerMessage":
      return "[Sticker]";
    case "locationMessage":
      return place(contents.locationMessage);
    case "liveLocationMessage":
      return place(contents.liveLocationMessage);
    case "contactMessage":
      return contact(contents.contactMessage);
    case "contactsArrayMessage":
      return (contents.contactsArrayMessage?.contacts ?? []).map(contact).join("\n");
    case "buttonsResponseMessage":
      return contents.buttonsResponseMessage?.selectedDisplayText ?? contents.buttonsResponseMessage?.selectedButtonId ?? "";
    case "templateButtonReplyMessage":
      return contents.templateButtonReplyMessage?.selectedDisplayText ?? "";
    case "listResponseMessage":
      return contents.listResponseMessage?.title ?? "";
    case "groupInviteMessage":
      return `[Invitation to a group: ${contents.groupInviteMessage?.groupName ?? ""}]`;
    case "pollCreationMessage":
    case "pollCreationMessageV2":
    case "pollCreationMessageV3": {
      const poll = contents[kind];
      return `[Poll: ${poll?.name ?? ""}: ${(poll?.options ?? []).map((option) => option.optionName ?? "").join(", ")}]`;
    }
    default:
      return `[A message of a kind that cannot be read here: ${kind.replace(/Message$/, "")}]`;
  }
}

function place(at: proto.Message.ILocationMessage | proto.Message.ILiveLocationMessage | null | undefined): string {
  const named = at && "name" in at ? [at.name, at.address].filter(Boolean).join(", ") : "";
  return `[Location: ${at?.degreesLatitude ?? "?"}, ${at?.degreesLongitude ?? "?"}${named ? `, ${named}` : ""}]`;
}

function contact(one: proto.Message.IContactMessage | null | undefined): string {
  const numbers = [...(one?.vcard ?? "").matchAll(/^TEL[^:\n]*:(.+)$/gim)].map((found) => (found[1] ?? "").trim());
  return `[Contact: ${[one?.displayName ?? "", ...numbers].filter(Boolean).join(", ")}]`;
}
