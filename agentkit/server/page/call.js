/** The server's side of a conversation: the token, the socket, and what is said on it. */

import { Problem } from "./problems.js";

const VERSION = 1;
const READY_WITHIN = 15000; // milliseconds
const MOST_WAITING = 256 * 1024; // bytes: 8 s of the microphone

/** A token for one conversation. Throws a Problem. */
async function token() {
  let answer;
  try {
    const url = new URL(`web/token${location.search}`, document.baseURI);
    answer = await fetch(url, { method: "POST" });
  } catch {
    throw new Problem(navigator.onLine ? "unreachable" : "offline");
  }
  if (answer.ok) return (await answer.json()).token;
  if (answer.status === 503) throw new Problem(await why(answer));
  throw new Problem("refused", `${answer.status} ${(await answer.text()).trim()}`.slice(0, 200));
}

async function why(answer) {
  try {
    return (await answer.json()).why === "draining" ? "draining" : "full";
  } catch {
    return "unreachable";
  }
}

export class Call {
  /**
   * Opens a conversation; returns once the agent is there. Throws a Problem.
   *
   * `on.audio(buffer)` and `on.told(message)` are called for what comes, `on.over(problem, why)` once it
   * is over: with undefined if that was in order, and with the server's reason.
   */
  static async open(on) {
    const given = await token();
    const url = new URL("web/media", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Problem("late")), READY_WITHIN);
      const call = new Call(socket, on, (outcome) => {
        clearTimeout(late);
        if (outcome instanceof Problem) reject(outcome);
        else resolve(outcome);
      });
      socket.onopen = () => {
        call.opened = true;
        call.say({ type: "start", version: VERSION, token: given });
      };
    }).catch((problem) => {
      socket.onclose = null;
      socket.close();
      throw problem;
    });
  }

  constructor(socket, on, settle) {
    this.socket = socket;
    this.on = on;
    this.settle = settle;
    this.opened = false;
    this.ready = false;
    this.ended = false;
    this.dropped = 0;
    socket.onmessage = ({ data }) => this.take(data);
    socket.onclose = () => this.closed();
  }

  take(data) {
    if (typeof data !== "string") {
      this.on.audio(data);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "ready") {
      this.ready = true;
      this.rate = message.rate;
      this.settle(this);
    } else if (message.type === "refused") {
      this.settle(new Problem(message.why));
    } else if (message.type === "over") {
      this.ended = true;
      this.why = message.why;
    } else {
      this.on.told(message);
    }
  }

  closed() {
    if (!this.ready) this.settle(new Problem(this.opened ? "lost" : "socket"));
    else if (this.ended) this.on.over(undefined, this.why);
    else this.on.over(new Problem(navigator.onLine ? "lost" : "offline"));
  }

  say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Sends a frame of the microphone; false if the network is so far behind that it was left out. */
  hear(frame) {
    if (this.socket.readyState !== WebSocket.OPEN) return true;
    if (this.socket.bufferedAmount > MOST_WAITING) {
      this.dropped += 1;
      return false;
    }
    this.socket.send(frame);
    return true;
  }

  heard(epoch, at) {
    this.say({ type: "heard", epoch, at });
  }

  /** The caller hangs up. */
  end() {
    this.say({ type: "end" });
    this.close();
  }

  /** Nothing that comes later is told. */
  close() {
    this.socket.onclose = this.socket.onmessage = null;
    this.socket.close(1000);
  }
}
