/** The conversation in words: turns as they come, drafts and their fate, replies as they are heard. */

const REASONS = {
  resumed: "you went on",
  words: "you said something else",
  version: "something had changed",
  superseded: "another took its place",
  failed: "it failed",
  taken_back: "you went on",
  interrupted: "you spoke",
  backchannel: "no reply was needed",
  keys: "you pressed keys",
  late: "it was not needed any more",
  cancelled: "it was not wanted any more",
  call_ended: "the call was over",
};
const NAMES = { filler: "Agent, meanwhile", apology: "Agent", line: "Agent" };
const ASIDES = { attention: "heard as attention, not as a turn", echo: "the agent's own words, heard back", silence: "nobody says anything" };

export class Transcript {
  /** `list` takes the lines, `scroller` is what scrolls. */
  constructor(list, scroller) {
    this.list = list;
    this.scroller = scroller;
    this.clear();
  }

  clear() {
    this.list.replaceChildren();
    this.open = null;
    this.turns = new Map();
    this.replies = new Map();
    this.byTurn = new Map();
    this.typed = new Set(); // what was written, until it comes back as a turn
  }

  /** Takes one of the server's messages; those that say nothing here are passed over. */
  take(message) {
    const follow = this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < 80;
    this[`on_${message.type}`]?.(message);
    if (follow) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  // -------------------------------------------------------------------------------- the caller

  on_caller({ state, text, at }) {
    if (!text) return; // a sound, and no words yet
    this.open ??= this.line("caller open", "You", at);
    this.open.classList.toggle("maybe", state === "maybe");
    words(this.open, text);
  }

  on_turn({ turn, text, at }) {
    const line = this.open ?? this.line("caller", "You", at);
    this.open = null;
    line.className = "caller";
    words(line, text);
    const reply = this.lineOf(this.byTurn.get(turn));
    if (this.typed.delete(text)) note(line, "written");
    // It may be there before the words that it answers.
    if (reply && line.compareDocumentPosition(reply) & Node.DOCUMENT_POSITION_PRECEDING) line.after(reply);
    this.turns.set(turn, line);
    this.read(line);
  }

  on_merged({ turn }) {
    this.turns.get(turn)?.remove();
  }

  on_aside({ what, text, at }) {
    const line = (what !== "silence" && this.open) || this.line("caller", "You", at);
    if (what !== "silence") this.open = null;
    line.className = "caller aside";
    words(line, text || "…");
    note(line, ASIDES[what]);
  }

  // --------------------------------------------------------------------------------- the agent

  on_reply({ reply, turn, kind, draft, at }) {
    this.replies.set(reply, { kind, turn, draft, at, text: "", line: null, over: false });
    if (turn !== null) this.byTurn.set(turn, reply);
    if (draft) this.begin(reply);
  }

  on_text({ reply, text }) {
    const it = this.replies.get(reply);
    if (it === undefined || it.over) return;
    it.text += text;
    this.show(this.begin(reply), 0);
  }

  on_committed({ reply, ahead }) {
    const it = this.begin(reply);
    if (it === undefined) return;
    it.draft = false;
    it.line.className = "agent pending";
    it.line.querySelector(".who").textContent = NAMES[it.kind] ?? "Agent";
    note(it.line, `draft kept: ${ms(ahead)} ahead`, "kept");
  }

  on_parked({ reply }) {
    const it = this.replies.get(reply);
    if (it?.line) this.drop(it, "kept aside: you went on");
  }

  on_discarded({ reply, reason }) {
    const it = this.replies.get(reply);
    if (it === undefined) return;
    it.over = true;
    if (it.line === null) return;
    if (it.draft && !it.text) it.line.remove();
    else this.drop(it, `${it.draft ? "draft discarded" : "not said"}: ${REASONS[reason] ?? reason}`);
  }

  on_playing({ reply }) {
    this.replies.get(reply)?.line?.classList.replace("pending", "speaking");
  }

  on_held() {
    for (const line of this.list.querySelectorAll(".speaking")) line.classList.replace("speaking", "pending");
  }

  on_heard({ reply, letters }) {
    const it = this.replies.get(reply);
    if (it?.line && !it.over) this.show(it, letters);
  }

  on_said({ reply, heard, interrupted }) {
    const it = this.replies.get(reply);
    if (it === undefined) return;
    it.over = true;
    this.replies.delete(reply);
    if (!it.line || !heard) return;
    it.line.className = interrupted ? "agent cut" : "agent";
    const rest = it.text.startsWith(heard) ? it.text.slice(heard.length) : "";
    it.text = heard + (interrupted ? rest : "");
    this.show(it, heard.length);
    for (const old of it.line.querySelectorAll(".fate")) old.remove();
    if (interrupted) note(it.line, "you interrupted");
    this.read(it.line);
  }

  on_tool({ reply, name }) {
    this.begin(reply);
    const line = this.lineOf(reply);
    if (line) note(line, `tool: ${name}`, "tool");
  }

  /** The reply to a turn is heard, so many seconds after it. */
  reacted(turn, seconds) {
    const line = this.lineOf(this.byTurn.get(turn));
    if (line) note(line, `heard ${ms(seconds)} after you were done`);
  }

  // ------------------------------------------------------------------------------------ inside

  lineOf(reply) {
    return this.list.querySelector(`[data-reply="${reply}"]`);
  }

  /** The line of a reply, made when there is something to show. */
  begin(reply) {
    const it = this.replies.get(reply);
    if (it === undefined || it.line !== null) return it;
    const who = it.draft ? "Draft" : (NAMES[it.kind] ?? "Agent");
    it.line = this.line(it.draft ? "agent draft" : "agent pending", who, it.at);
    it.line.dataset.reply = reply;
    return it;
  }

  show(it, letters) {
    const place = it.line.querySelector(".words");
    const at = wordEnd(it.text, letters);
    const [heard, rest] = [document.createElement("span"), document.createElement("span")];
    heard.textContent = it.text.slice(0, at);
    rest.className = "rest";
    rest.textContent = it.text.slice(at);
    place.replaceChildren(heard, rest);
  }

  drop(it, why) {
    it.line.className = "agent dropped";
    it.line.querySelector(".notes").replaceChildren();
    note(it.line, why, "fate");
  }

  line(kind, who, at) {
    const line = document.createElement("li");
    line.className = kind;
    const [name, said, notes] = ["who", "words", "notes"].map((part) => {
      const span = document.createElement("span");
      span.className = part;
      return span;
    });
    name.textContent = who;
    name.title = `${at.toFixed(1)} s`;
    said.dir = "auto";
    line.append(name, said, notes);
    this.list.append(line);
    return line;
  }

  /** A line is final: who has it read out hears it once, and not each word that comes and goes. */
  read(line) {
    this.onfinal?.(`${line.querySelector(".who").textContent}: ${line.querySelector(".words").textContent}`);
  }
}

function words(line, text) {
  line.querySelector(".words").textContent = text;
}

function note(line, text, kind = "") {
  const span = document.createElement("span");
  span.className = `note ${kind}`;
  span.textContent = text;
  line.querySelector(".notes").append(span);
}

function wordEnd(text, letters) {
  if (letters >= text.length) return text.length;
  return letters === 0 ? 0 : text.lastIndexOf(" ", letters) + 1;
}

export function ms(seconds) {
  return seconds < 9.95 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}
