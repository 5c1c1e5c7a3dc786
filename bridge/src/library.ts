/** What is used of Baileys. main.ts gives the real one; nothing else of ours imports its code. */

import type * as baileys from "baileys";

export type Library = Pick<
  typeof baileys,
  | "areJidsSameUser"
  | "BufferJSON"
  | "decodeMessageNode"
  | "downloadMediaMessage"
  | "fetchLatestWaWebVersion"
  | "getContentType"
  | "initAuthCreds"
  | "isJidBroadcast"
  | "isJidNewsletter"
  | "jidNormalizedUser"
  | "makeCacheableSignalKeyStore"
  | "makeWASocket"
  | "normalizeMessageContent"
  | "proto"
>;
