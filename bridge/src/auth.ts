/**
 * The link to WhatsApp on disk: the files that Baileys' own `useMultiFileAuthState` writes, each replaced as a whole, so that a
 * kill in mid-write costs no link. What cannot be read is an error, never a new link.
 */

import { readFileSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as immediate } from "node:timers/promises";

import type { AuthenticationState, SignalDataTypeMap, SignalKeyStore } from "baileys";

import type { Library } from "./library.js";

const CREDS = "creds.json";

export interface Auth {
  state: AuthenticationState;
  save(): Promise<void>;
  /** Resolves when all that was to be written is. */
  settled(): Promise<void>;
}

/** Writes each file as a whole, one write of it at a time, the newest last. */
class Files {
  private readonly busy = new Map<string, Promise<void>>();

  constructor(private readonly folder: string) {}

  put(name: string, value: string | undefined, sync = false): Promise<void> {
    const work = (this.busy.get(name) ?? Promise.resolve())
      .catch(() => {})
      .then(() => (value === undefined ? rm(join(this.folder, name), { force: true }) : this.write(name, value, sync)));
    this.busy.set(name, work);
    return work.finally(() => {
      if (this.busy.get(name) === work) this.busy.delete(name);
    });
  }

  async settled(): Promise<void> {
    do {
      await Promise.allSettled(this.busy.values());
      await immediate(); // a message that could be decrypted now is noted now, and may bring the next write
    } while (this.busy.size > 0);
  }

  private async write(name: string, text: string, sync: boolean): Promise<void> {
    const half = join(this.folder, `${name}.half`);
    const file = await open(half, "w", 0o600);
    try {
      await file.writeFile(text);
      if (sync) await file.sync();
    } finally {
      await file.close();
    }
    await rename(half, join(this.folder, name));
  }
}

/** Rejects where the link cannot be read. */
export async function openAuth(folder: string, library: Library): Promise<Auth> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of await readdir(folder)) if (name.endsWith(".half")) await rm(join(folder, name), { force: true });
  const creds = load<AuthenticationState["creds"]>(join(folder, CREDS), library) ?? library.initAuthCreds();
  const files = new Files(folder);
  return {
    state: { creds, keys: keysIn(folder, files, library) },
    save: () => files.put(CREDS, JSON.stringify(creds, library.BufferJSON.replacer), true),
    settled: () => files.settled(),
  };
}

/** Forget a link that WhatsApp has ended. Only what is the link's goes. */
export async function forgetLink(folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (name.endsWith(".json")) await rm(join(folder, name), { force: true });
}

function load<T>(path: string, library: Library): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return JSON.parse(text, library.BufferJSON.reviver) as T;
  } catch {
    throw new Error(`${path} cannot be read: it is no JSON. Move its folder away and link again`);
  }
}

function keysIn(folder: string, files: Files, library: Library): SignalKeyStore {
  return {
    async get(type, ids) {
      const found: Record<string, SignalDataTypeMap[typeof type]> = {};
      for (const id of ids) {
        const value = await key(join(folder, fileOf(type, id)), library);
        if (value !== undefined) found[id] = (type === "app-state-sync-key" ? appState(value, library) : value) as never;
      }
      return found;
    },
    async set(data) {
      const work: Promise<void>[] = [];
      for (const [type, values] of Object.entries(data))
        for (const [id, value] of Object.entries(values ?? {})) {
          const name = fileOf(type, id);
          work.push(files.put(name, value ? JSON.stringify(value, library.BufferJSON.replacer) : undefined));
        }
      await Promise.all(work);
    },
  };
}

function appState(value: unknown, library: Library): unknown {
  return library.proto.Message.AppStateSyncKeyData.fromObject(value as Record<string, unknown>);
}

/** One that is damaged counts as missing: the other side is asked for a new one. Rejects where the disk does not give it. */
async function key(path: string, library: Library): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"), library.BufferJSON.reviver);
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function fileOf(type: string, id: string): string {
  return `${type}-${id}.json`.replace(/\//g, "__").replace(/:/g, "-");
}
