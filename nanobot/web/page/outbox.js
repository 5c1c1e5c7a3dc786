/**
 * What was written and is not yet on nanobot's disk. It survives a reload, and goes out again with the same id until it is
 * accepted. One key of localStorage a message, so that two tabs cannot overwrite each other's.
 */

const PREFIX = "nanobot.unsent.";

/** @typedef {{id: string, chat: string, text: string, at: number}} Unsent */

/** An id that nobody else will draw. (randomUUID is not there on plain http beyond localhost.) */
export function fresh(bytes = 16) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Outbox {
  /** @type {Map<string, Unsent>} what this page wrote: storage may be full or forbidden */
  #own = new Map();

  /** @param {Unsent} message */
  keep(message) {
    this.#own.set(message.id, message);
    try {
      localStorage.setItem(PREFIX + message.id, JSON.stringify(message));
    } catch {
      // it is sent all the same, only a reload would lose it
    }
  }

  drop(id) {
    this.#own.delete(id);
    localStorage.removeItem(PREFIX + id);
  }

  has(id) {
    return this.#own.has(id) || localStorage.getItem(PREFIX + id) !== null;
  }

  /** @returns {Unsent[]} oldest first */
  all() {
    const kept = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).map((key) => read(localStorage.getItem(key)));
    const found = new Map([...this.#own, ...kept.filter((message) => message !== null).map((message) => [message.id, message])]);
    return [...found.values()].sort((a, b) => a.at - b.at);
  }
}

function read(text) {
  try {
    const message = JSON.parse(text ?? "");
    return [message.id, message.chat, message.text].every((part) => typeof part === "string") ? message : null;
  } catch {
    return null;
  }
}
