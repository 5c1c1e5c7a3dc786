/** The websocket to the gateway: authenticates, and comes back by itself, after waits that grow, until it is refused. */

const FIRST_WAIT_S = 0.5;
const LONGEST_WAIT_S = 20;
const GREETING_S = 10; // a gateway that is alive has said `ready` by then

/** @typedef {"connecting" | "ready" | "waiting" | "refused"} LinkState */

export class Connection {
  /** @type {WebSocket | null} */
  #socket = null;
  #token = "";
  #failures = 0;
  #timer = 0;
  #refusal = "";
  ready = false;

  /** @param {{frame: (frame: any) => void, state: (state: LinkState, detail: {reason: string, until: number}) => void}} to */
  constructor(to) {
    this.to = to;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  open(token) {
    this.#token = token;
    this.#refusal = "";
    this.again();
  }

  /** @returns {boolean} whether it went out; that it arrived is another question */
  send(frame) {
    if (this.ready) this.#socket.send(JSON.stringify(frame));
    return this.ready;
  }

  /** Leave this connection, dead or alive, for a new one. */
  again() {
    clearTimeout(this.#timer);
    this.#leave();
    this.to.state("connecting", { reason: "", until: 0 });
    const address = new URL("ws", location.href);
    address.protocol = location.protocol.replace("http", "ws");
    const socket = (this.#socket = new WebSocket(address));
    socket.onopen = () => socket.send(JSON.stringify({ type: "auth", token: this.#token }));
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = () => this.#lost();
    this.#timer = setTimeout(() => this.#lost(), GREETING_S * 1000);
  }

  #take(frame) {
    if (frame.type === "ready") {
      clearTimeout(this.#timer);
      this.ready = true;
      this.#failures = 0;
      this.to.state("ready", { reason: "", until: 0 });
    } else if (frame.type === "error" && frame.code === "unauthorized") {
      this.#refusal = frame.reason;
    }
    this.to.frame(frame);
  }

  #lost() {
    this.#leave();
    clearTimeout(this.#timer);
    if (this.#refusal) return this.to.state("refused", { reason: this.#refusal, until: 0 });
    const wait = Math.min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** this.#failures) * (0.75 + Math.random() / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.again(), wait * 1000);
    this.to.state("waiting", { reason: "", until: Date.now() / 1000 + wait });
  }

  #leave() {
    this.ready = false;
    if (this.#socket) this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket?.close();
    this.#socket = null;
  }

  #hurry() {
    if (this.#socket === null && this.#token && !this.#refusal) this.again();
  }
}
