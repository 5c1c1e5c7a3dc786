/**
 * The bridge as a program, whichever Baileys it is given. It is told by the environment:
 *
 *   BRIDGE_PORT  3001; 0: any free one        AUTH_DIR     the link: ~/.nanobot/whatsapp-auth
 *   BRIDGE_TOKEN wanted                       INBOX_DIR    what waits for nanobot: `inbox` in AUTH_DIR
 *
 * It writes its log to standard output, a JSON object a line: `level` and `text`; one has `port`, once it listens.
 */

import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import type { Library } from "./library.js";
import { type Log, type Pace, Server } from "./server.js";
import { Inbox, Sent } from "./store.js";
import { type Delays, WhatsApp } from "./whatsapp.js";

const PORT_TAKEN = 4;
const FAILED = 1;

function line(level: string, text: string, more: object = {}): void {
  process.stdout.write(`${JSON.stringify({ level, text, ...more })}\n`);
}

const log: Log = {
  info: (text) => line("info", text),
  warn: (text) => line("warning", text),
  error: (text) => line("error", text),
};

/** Runs until SIGTERM or SIGINT. */
export async function program(library: Library, delays?: Delays, pace?: Pace): Promise<void> {
  process.umask(0o077);
  const env = process.env;
  const auth = env["AUTH_DIR"] || join(homedir(), ".nanobot", "whatsapp-auth");
  const folder = env["INBOX_DIR"] || join(auth, "inbox");
  const token = env["BRIDGE_TOKEN"] ?? "";
  delete env["BRIDGE_TOKEN"];
  if (token === "") return fail("BRIDGE_TOKEN is not set: without a token nobody may connect", FAILED);
  let inbox: Inbox, sent: Sent;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    [inbox, sent] = [new Inbox(folder), new Sent(folder)];
  } catch (error) {
    return fail(`what waits in ${folder} cannot be read: ${(error as Error).message}`, FAILED);
  }
  if (inbox.unread > 0) log.error(`${inbox.unread} lines of ${folder}/inbox.jsonl cannot be read`);
  const network = new WhatsApp(auth, inbox, library, log, delays);
  const server = new Server(token, inbox, sent, network, log, pace);
  const wanted = Number(env["BRIDGE_PORT"] ?? 3001);
  try {
    const port = await server.listen(wanted);
    line("info", `listening on 127.0.0.1:${port}`, { port });
  } catch (error) {
    const taken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
    return fail(taken ? `port ${wanted} is in use` : (error as Error).message, taken ? PORT_TAKEN : FAILED);
  }
  const end = (): void => {
    server.close();
    void network.stop().finally(() => process.exit(0));
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  await network.run(server).catch((error: Error) => fail(error.message, FAILED));
}

/** The end is an error of whoever runs us, and told there. */
function fail(text: string, code: number): void {
  log.warn(text);
  process.exitCode = code;
  setTimeout(() => process.exit(code), 100).unref();
}
