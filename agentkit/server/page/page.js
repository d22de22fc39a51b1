/** The page: its buttons, and what connects them to the sound, the server and what is shown. */

import { Call } from "./call.js";
import { Figures } from "./figures.js";
import { Problem } from "./problems.js";
import { canChooseLoudspeaker, devices, Loudspeaker, Microphone, obstacle } from "./sound.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";

const el = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));
const now = () => performance.now() / 1000;

const STATES = {
  idle: "Ready",
  asking: "Waiting for the microphone",
  connecting: "Connecting",
  listening: "Listening",
  hearing: "Hearing you",
  thinking: "Thinking",
  speaking: "Speaking",
  over: "The call is over",
};
const ENDS = {
  closed: STATES.over,
  failed: "The agent had to end the call: something failed",
  "longest call": "The agent has hung up: the call may last no longer",
  shutdown: "The agent has hung up: the server is going down",
  silence: "The agent has hung up: it heard nothing of you",
};
const TALKING = new Set(["listening", "hearing", "thinking", "speaking"]);

const transcript = new Transcript(el.lines, el.scroller);
const timeline = new Timeline(el.timeline, now);
const figures = new Figures();

let call = null;
let microphone = null;
let loudspeaker = null;
let muted = false;
let base = 0; // our clock where the server's says 0
let beganAt = 0;
let turnIsOpen = false;
let owesReply = false;
let waiting = null; // for the reply to a turn, since when
let playing = null; // the turn that what is being played answers
const answers = new Map(); // the turn that a reply answers
const AUDIBLE = 0.003;

// ------------------------------------------------------------------------------- begin and end

let attempt = 0;

async function begin(without = false) {
  const obstructed = obstacle();
  if (obstructed) return trouble(obstructed);
  quiet();
  reset();
  state(without ? "connecting" : "asking");
  attempt += 1;
  const mine = attempt;
  /** Keeps what was opened, unless the attempt was given up meanwhile. */
  const keep = (opened) => {
    if (mine === attempt) return opened;
    opened.close();
    throw new GivenUp();
  };
  try {
    // Both are opened by the click that asks for them: later the browser would not let them sound.
    const rate = Number(document.documentElement.dataset.rate);
    const device = el.microphone.value;
    const opening = Loudspeaker.open(rate, hearing).then((it) => (loudspeaker = keep(it)));
    const asking = Microphone.open({ device, without, on: speaking }).then((it) => (microphone = keep(it)));
    await Promise.all([opening, asking]);
    microphone.mute(muted);
    state("connecting");
    void list();
    call = keep(await Call.open(coming));
    if (call.rate !== loudspeaker.rate) await exchange(call.rate);
    if (el.loudspeaker.value) await chooseLoudspeaker();
    started();
  } catch (error) {
    if (error instanceof GivenUp) return;
    giveUp();
    trouble(error instanceof Problem ? error : new Problem("failed", error.message));
    if (!(error instanceof Problem)) throw error;
  }
}

class GivenUp extends Error {}

function giveUp() {
  attempt += 1;
  close();
  state("idle");
}

/** The agent's voice has another rate than when the page was loaded. */
async function exchange(rate) {
  loudspeaker.close();
  loudspeaker = await Loudspeaker.open(rate, hearing);
  for (const [method, given] of early.splice(0)) loudspeaker[method](...given);
}

function started() {
  beganAt = now();
  state("listening");
  if (muted) call.say({ type: "muted", muted });
  tell("Connected.");
  timeline.start();
  tick();
}

/** The agent's own reasons are for its makers: they are not told. */
function over(problem, why = "closed") {
  close();
  timeline.stop();
  state("over", ENDS[why] ?? "The agent has hung up");
  tell(el.state.textContent);
  if (problem) trouble(problem);
}

function hangUp() {
  call?.end();
  over(undefined);
}

function close() {
  call?.close();
  microphone?.close();
  loudspeaker?.close();
  call = microphone = loudspeaker = null;
  el.level.value = 0;
}

function reset() {
  transcript.clear();
  figures.clear();
  timeline.clear();
  el.welcome.hidden = true;
  base = Infinity;
  turnIsOpen = owesReply = false;
  waiting = playing = null;
  answers.clear();
  early.length = 0;
}

// --------------------------------------------------------------------- what comes, and what goes

const early = []; // what is to be played comes before there is a loudspeaker of the right rate

function play(method, ...given) {
  if (loudspeaker && (!call || call.rate === loudspeaker.rate)) loudspeaker[method](...given);
  else early.push([method, given]);
}

const coming = {
  audio: (buffer) => play("play", buffer),
  told: (message) => {
    if (message.type === "mark") play("mark", message.epoch, message.at);
    else if (message.type === "clear") play("clear", message.epoch);
    else story(message);
  },
  over,
};

const speaking = {
  frame: (samples, level) => {
    timeline.level("caller", level);
    el.level.value = Math.sqrt(level);
    if (call && !call.hear(samples)) trouble(new Problem("slow"));
  },
  lost: () => {
    trouble(new Problem("gone"));
    void list();
  },
};

const hearing = {
  heard: (epoch, at) => call?.heard(epoch, at),
  level: (level) => {
    timeline.level("agent", level);
    if (level > AUDIBLE) reacted();
  },
  silent: (seconds) => figures.silentAfter(seconds),
  sounding: (sounding) => {
    if (sounding) owesReply = false;
    el.lines.classList.toggle("sounding", sounding);
    refresh(sounding);
  },
};

/** The server tells what happens in the conversation. */
function story(message) {
  // Of all messages the quickest says best what the server's clock is on ours.
  base = Math.min(base, now() - message.at);
  const { type, turn, reply } = message;
  if (type === "caller") turnIsOpen = message.text !== "" && message.state !== "ended";
  if (type === "turn") owesReply = true;
  if (type === "turn" || type === "aside") turnIsOpen = false;
  if (type === "times") owesReply = false;
  if (type === "turn") waiting = { turn, at: base + message.at };
  if (type === "reply") answers.set(reply, turn);
  if (type === "playing") playing = answers.get(reply) ?? null;
  if (type === "trouble") troubled(message.what);
  transcript.take(message);
  figures.take(message);
  timeline.take(message, base + message.at);
  refresh(el.lines.classList.contains("sounding"));
}

/** The first sound of a reply is there: what the caller has waited is known at once. */
function reacted() {
  if (waiting === null || playing !== waiting.turn) return;
  const { turn, at } = waiting;
  waiting = null;
  timeline.reacted(at, now());
  for (const shown of [transcript, figures]) shown.reacted(turn, now() - at);
}

function troubled(what) {
  if (what === "found") quiet("deaf");
  else trouble(what === "lost" ? new Problem("deaf") : new Problem("failed", what));
}

function refresh(sounding) {
  if (call === null || !TALKING.has(document.body.dataset.state)) return;
  if (turnIsOpen) state("hearing");
  else state(sounding ? "speaking" : owesReply ? "thinking" : "listening");
}

// ----------------------------------------------------------------------------------- what is seen

function state(name, words = STATES[name]) {
  if (document.body.dataset.state === name) return;
  document.body.dataset.state = name;
  el.state.textContent = words;
  const talking = TALKING.has(name);
  const busy = name === "asking" || name === "connecting";
  el.talk.textContent = talking ? "End" : busy ? "Cancel" : name === "over" ? "Talk again" : "Talk";
  for (const one of [el.mute, el.words, el.send]) one.disabled = !talking;
  if (busy) tell(STATES[name]);
}

function tell(words) {
  el.said.textContent = words;
}

function trouble(problem) {
  el.problem.dataset.code = problem.code;
  el.problem.replaceChildren(problem.message);
  if (problem.byWriting && call === null) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Write instead";
    button.addEventListener("click", () => void begin(true));
    el.problem.append(button);
  }
  el.problem.hidden = false;
}

function quiet(code) {
  if (code === undefined || el.problem.dataset.code === code) el.problem.hidden = true;
}

function tick() {
  if (call === null) return;
  const seconds = Math.floor(now() - beganAt);
  el.clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  setTimeout(tick, 250);
}

// ---------------------------------------------------------------------------------------- devices

/** Fills the lists. Names are known once the microphone was allowed. */
async function list() {
  const { microphones, loudspeakers } = await devices();
  options(el.microphone, microphones, microphone?.device);
  options(el.loudspeaker, loudspeakers, el.loudspeaker.value);
}

function options(select, found, chosen) {
  if (found.length === 0) return;
  const first = select.options[0];
  select.replaceChildren(first, ...found.map(({ id, name }) => new Option(name, id)));
  select.value = found.some(({ id }) => id === chosen) ? chosen : "";
}

async function chooseMicrophone() {
  try {
    await microphone?.choose(el.microphone.value);
    quiet("gone");
  } catch (error) {
    trouble(error);
  }
}

async function chooseLoudspeaker() {
  try {
    await loudspeaker?.choose(el.loudspeaker.value);
  } catch {
    trouble(new Problem("loudspeaker"));
  }
}

// ---------------------------------------------------------------------------------------- buttons

el.talk.addEventListener("click", () => {
  const name = document.body.dataset.state;
  if (TALKING.has(name)) hangUp();
  else if (name === "idle" || name === "over") void begin();
  else giveUp();
});

el.mute.addEventListener("click", () => {
  muted = !muted;
  el.mute.setAttribute("aria-pressed", String(muted));
  microphone?.mute(muted);
  call?.say({ type: "muted", muted });
});

el.dock.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = el.words.value.trim();
  if (!text || call === null) return;
  call.say({ type: "typed", text });
  transcript.typed.add(text.split(/\s+/u).join(" "));
  el.words.value = "";
});

el.microphone.addEventListener("change", () => void chooseMicrophone());
el.loudspeaker.addEventListener("change", () => void chooseLoudspeaker());
transcript.onfinal = (words) => {
  if (el.aloud.checked) tell(words);
};

el["choose-loudspeaker"].hidden = !canChooseLoudspeaker;
navigator.mediaDevices?.addEventListener("devicechange", () => void list());
const obstructed = obstacle();
if (obstructed) {
  trouble(obstructed);
  el.talk.disabled = true;
} else {
  void list();
}
