/** Where the time went: of the last turn, and of the call. */

import { ms } from "./transcript.js";

const BY_ID = (id) => document.getElementById(id);

export class Figures {
  constructor() {
    this.clear();
  }

  clear() {
    this.reactions = new Map();
    this.decided = this.saved = this.begun = this.kept = this.interruptions = this.silent = 0;
    for (const id of ["reaction", "reacted", "decided", "saved", "median", "saved-all", "drafts", "interruptions", "silent"]) {
      BY_ID(id).textContent = "–";
    }
    BY_ID("rows").replaceChildren();
    this.bar(0, 0, 0);
  }

  take(message) {
    this[`on_${message.type}`]?.(message);
  }

  on_caller({ decided = 0 }) {
    this.decided = Math.max(0, decided);
  }

  on_reply({ draft }) {
    if (draft) this.begun += 1;
    this.tell();
  }

  on_committed() {
    this.kept += 1;
    this.tell();
  }

  on_said({ heard, interrupted }) {
    if (heard && interrupted) this.interruptions += 1;
    this.tell();
  }

  /** The reply to a turn is heard, so many seconds after it: what the caller has waited. */
  reacted(turn, seconds) {
    this.reactions.set(turn, seconds);
    BY_ID("reaction").textContent = BY_ID("reacted").textContent = ms(seconds);
    BY_ID("decided").textContent = ms(this.decided);
    BY_ID("saved").textContent = "…"; // known once the reply is over
    this.bar(this.decided, seconds, 0);
    this.tell();
  }

  /** The reply is over: all its times are known. */
  on_times({ turn, decided, heard, saved = 0 }) {
    if (heard === undefined) return;
    if (!this.reactions.has(turn)) this.reacted(turn, heard);
    const reaction = this.reactions.get(turn);
    const before = Math.max(0, decided ?? this.decided);
    this.saved += saved;
    this.row([turn + 1, ms(before), ms(reaction), saved ? ms(saved) : "–"]);
    this.tell();
    if ([...this.reactions.keys()].at(-1) !== turn) return;
    BY_ID("decided").textContent = ms(before);
    BY_ID("saved").textContent = saved ? ms(saved) : "nothing";
    this.bar(before, reaction, saved);
  }

  /** After a clear the loudspeaker rendered nothing any more after so many seconds. */
  silentAfter(seconds) {
    this.silent = Math.max(this.silent, seconds);
    BY_ID("silent").textContent = ms(this.silent);
  }

  tell() {
    const sorted = [...this.reactions.values()].sort((a, b) => a - b);
    BY_ID("median").textContent = sorted.length ? ms(sorted[sorted.length >> 1]) : "–";
    BY_ID("saved-all").textContent = this.saved ? ms(this.saved) : "–";
    BY_ID("drafts").textContent = this.begun ? `${this.kept} of ${this.begun}` : "–";
    BY_ID("interruptions").textContent = String(this.interruptions);
  }

  bar(...parts) {
    const whole = parts.reduce((sum, part) => sum + part, 0) || 1;
    for (const [number, part] of parts.entries()) {
      BY_ID("bar").children[number].style.flexGrow = String(part / whole);
    }
  }

  row(cells) {
    const row = document.createElement("tr");
    for (const [number, text] of cells.entries()) {
      const cell = document.createElement(number === 0 ? "th" : "td");
      if (number === 0) cell.scope = "row";
      cell.textContent = text;
      row.append(cell);
    }
    BY_ID("rows").prepend(row);
  }
}
