/** The page: a button, what the model says, and what is wrong. */

import { Microphone, obstacle, openSocket, Problem, send, signedToken } from "./listener.js";

/** Told to the model beside the rate; the eager threshold is what turns the eager events on. */
const OPTIONS = { encoding: "linear16", eot_threshold: "0.7", eager_eot_threshold: "0.4" };

/** Rows that are kept. */
const MOST_ROWS = 500;

/**
 * @typedef {{ word: string, confidence: number, start?: number, end?: number }} Word
 * @typedef {{
 *   type?: string, event?: string, turn_index?: number, audio_window_end?: number, transcript?: string,
 *   words?: Word[], end_of_turn_confidence?: number, code?: string, description?: string
 * }} Message
 */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function find(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`there is no ${id}`);
  return found;
}

const form = find("form", HTMLFormElement);
const token = find("token", HTMLInputElement);
const button = find("button", HTMLButtonElement);
const problem = find("problem", HTMLParagraphElement);
const status = find("status", HTMLParagraphElement);
const level = find("level", HTMLMeterElement);
const turns = find("turns", HTMLOListElement);
const now = find("now", HTMLParagraphElement);
const events = find("events", HTMLTableSectionElement);
const updates = find("updates", HTMLInputElement);

/** One press of Start, until it is stopped. */
class Session {
  stopped = false;
  /** The words of the open turn, as far as they still hold. */
  words = "";
  /** @type {Microphone | undefined} */
  microphone;
  /** @type {WebSocket | undefined} */
  socket;

  /** @param {string} given */
  async run(given) {
    try {
      await this.open(given);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.stop(error.message);
    } finally {
      // Stop may have been pressed while something was being opened.
      if (this.stopped) this.release();
    }
  }

  /** @param {string} given */
  async open(given) {
    this.microphone = await Microphone.open(() => this.stop("The microphone was unplugged."));
    if (this.stopped) return;
    const signed = await signedToken(given);
    if (this.stopped) return;
    const socket = await openSocket({
      ...OPTIONS,
      sample_rate: String(this.microphone.rate),
      token: signed,
    });
    this.socket = socket;
    if (this.stopped) return;
    socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      this.stop(`The connection was closed: ${reason === "" ? `code ${code}` : reason}.`);
    };
    this.microphone.start((chunk) => {
      if (this.stopped) return; // one was on its way
      level.value = chunk.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) / 32767;
      const sent = send(socket, chunk);
      say(sent ? "Listening." : "The network is too slow: some of what you say is left out.");
    });
    say("Listening.");
  }

  /** @param {Message} message */
  take(message) {
    if (message.type === "Error") {
      this.stop(
        `The model failed: ${message.description ?? message.code ?? "it does not say why"}.`,
      );
    } else if (message.event !== undefined) {
      this.show(message, message.event);
    }
  }

  /**
   * @param {Message} message
   * @param {string} event
   */
  show(message, event) {
    const said = message.transcript ?? "";
    // Once it is resumed, a turn's earlier words may be taken back. An end may come without words.
    if (event === "StartOfTurn" || event === "TurnResumed" || said !== "") this.words = said;
    now.textContent = this.words;
    addRow(message, event);
    if (event !== "EndOfTurn") return;
    if (this.words !== "") addTurn(this.words, message.turn_index);
    now.textContent = this.words = "";
  }

  /** @param {string} [why] */
  stop(why) {
    if (this.stopped) return;
    this.stopped = true;
    this.release();
    if (session === this) session = undefined;
    now.textContent = "";
    level.value = 0;
    button.textContent = "Start";
    say("Not listening.");
    complain(why);
  }

  release() {
    this.microphone?.close();
    if (this.socket) {
      this.socket.onclose = this.socket.onmessage = null;
      this.socket.close(1000, "stopped");
    }
  }
}

/** @type {Session | undefined} */
let session;

/** @param {string} text */
function say(text) {
  // The same text again would be read out again.
  if (status.textContent !== text) status.textContent = text;
}

/** @param {string} [text] */
function complain(text) {
  problem.hidden = text === undefined;
  problem.textContent = text ?? "";
}

/**
 * @param {string} words
 * @param {number} [number]
 */
function addTurn(words, number) {
  const turn = document.createElement("li");
  turn.textContent = words;
  if (number !== undefined) turn.value = number;
  turns.append(turn);
}

/**
 * @param {Message} message
 * @param {string} event
 */
function addRow(message, event) {
  const { audio_window_end: heard, turn_index: turn, end_of_turn_confidence: confidence } = message;
  const row = document.createElement("tr");
  row.dataset.event = event;
  const name = element("td", event);
  name.className = "event";
  const words = document.createElement("td");
  words.append(...(event === "EndOfTurn" ? timed(message) : [message.transcript ?? ""]));
  row.append(
    element("td", fixed(heard)),
    element("td", String(turn ?? "")),
    name,
    element("td", fixed(confidence)),
    words,
  );
  events.prepend(row);
  while (events.rows.length > MOST_ROWS) events.lastElementChild?.remove();
}

/**
 * The words, each with its times where it has them.
 *
 * @param {Message} message
 */
function timed(message) {
  if (!message.words?.length) return [message.transcript ?? ""];
  return message.words.flatMap(({ word, start, end }) => {
    const shown = element("span", word);
    shown.className = "word";
    if (start !== undefined && end !== undefined) {
      shown.append(" ", element("small", `${fixed(start)}–${fixed(end)}`));
    }
    return [shown, " "];
  });
}

/** @param {number | undefined} value */
function fixed(value) {
  return value === undefined ? "" : value.toFixed(2);
}

/**
 * @param {string} name
 * @param {string} text
 */
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (session) {
    session.stop();
    return;
  }
  session = new Session();
  turns.replaceChildren();
  events.replaceChildren();
  complain();
  say("Starting: the browser may ask for the microphone.");
  button.textContent = "Stop";
  void session.run(token.value.trim());
});

updates.addEventListener("change", () => {
  events.classList.toggle("hide-updates", !updates.checked);
});

const nothing = obstacle();
if (nothing !== undefined) {
  complain(nothing);
  button.disabled = true;
}
