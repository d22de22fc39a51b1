// Draws a call's report from its data, and plays its sound. Words are shown as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const PAGE = 400; // rows of the log that are drawn at a time

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  return dressed(node, attributes, children);
}
function draw(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}
function dressed(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const clock = (seconds) => {
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
};
const spoken = (seconds) => {
  const minutes = Math.floor(seconds / 60), rest = (seconds - minutes * 60).toFixed(1);
  return minutes ? `${minutes} minutes ${rest} seconds` : `${rest} seconds`;
};
const ms = (seconds) => (Math.abs(seconds) >= 9.9995 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds * 1000)} ms`);
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
const words = (code) => code.replaceAll("_", " ");

// ------------------------------------------------------------------------------- playing

const audio = $("audio");
const length = Math.max(data.duration, data.audio ? data.audio.seconds : 0, 0.1);
let now = 0;

function load() {
  const text = $("sound").textContent;
  if (!text) {
    document.body.classList.add("silent");
    $("bar").setAttribute("aria-label", "Sections and position");
    return;
  }
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  audio.src = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
  $("sound").remove();
  audio.addEventListener("play", () => { played(true); follow(); });
  audio.addEventListener("pause", () => played(false));
  $("play").addEventListener("click", toggle);
  $("speed").addEventListener("change", () => { audio.playbackRate = Number($("speed").value); });
  $("voices").addEventListener("change", () => choose($("voices").value));
}
function played(on) {
  $("play").textContent = on ? "Pause" : "Play";
}
function toggle() {
  if (!data.audio) return;
  if (audio.paused) audio.play(); else audio.pause();
}
function seek(seconds, andPlay = false) {
  show(Math.min(Math.max(seconds, 0), length));
  if (!data.audio) return;
  audio.currentTime = Math.min(now, data.audio.seconds);
  if (andPlay) audio.play();
}
function follow() {
  show(audio.currentTime, true);
  if (!audio.paused) requestAnimationFrame(follow);
}

// The two voices are the two channels; whichever is chosen is heard in the middle.
let gains = null;
function choose(which) {
  if (!gains) {
    const context = new AudioContext(), split = context.createChannelSplitter(2);
    context.createMediaElementSource(audio).connect(split);
    gains = [0, 1].map((side) => {
      const gain = new GainNode(context, { channelCount: 1, channelCountMode: "explicit" });
      split.connect(gain, side).connect(context.destination);
      return gain;
    });
    context.resume();
  }
  gains[0].gain.value = which === "agent" ? 0 : 1;
  gains[1].gain.value = which === "caller" ? 0 : 1;
}

function timeButton(at, what, shown = clock(at)) {
  const label = `${data.audio ? "Play" : "Show"} ${what} at ${spoken(at)}`;
  return make("button", { type: "button", class: "at", "data-at": at, "aria-label": label }, shown);
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.at");
  if (button) seek(Number(button.dataset.at), true);
});

// ------------------------------------------------------------------------------ timeline

const scroller = $("scroller"), track = $("track"), wave = $("wave");
let scale = 0; // pixels of a second

function place(kind, at, end, title, text = "") {
  const item = make("div", { class: kind, title }, text);
  item.style.setProperty("--at", at);
  item.style.setProperty("--for", Math.max(0, end - at));
  $("items").append(item);
}
function fillTrack() {
  const { lanes } = data, bare = data.audio ? "" : " bare";
  for (const one of lanes.caller) {
    place(`said${bare}`, one.at, one.end, `Caller: ${one.text}`);
    if (one.turn !== null) place("number", one.at, one.at, "", `turn ${one.turn}`);
  }
  for (const one of lanes.agent) {
    place(`said agent${bare}${one.cut ? " cut" : ""}`, one.at, one.end, `Agent: ${one.text}${one.cut ? " (cut off)" : ""}`);
  }
  for (const [at, edge] of lanes.edges) {
    if (edge === "maybe_ended") place("edge maybe", at, at, `the turn may have ended, ${clock(at)}`);
    if (edge === "ended") place("edge", at, at, `the turn ended, ${clock(at)}`);
  }
  for (const one of lanes.drafts) {
    const gone = one.fate !== "committed";
    place(`draft${gone ? " gone" : ""}`, one.at, one.end, `draft ${one.fate}${one.reason ? `: ${words(one.reason)}` : ""}, ${ms(one.end - one.at)}`);
  }
  for (const one of lanes.reactions) place("reaction", one.at, one.end, `reaction ${ms(one.end - one.at)}`);
  for (const one of lanes.tools) place("tool", one.at, one.end, `tool, ${ms(one.end - one.at)}`);
  track.style.setProperty("--long", length);
  track.setAttribute("aria-valuemax", length.toFixed(1));
}

const fitting = () => scroller.clientWidth / length;
function zoom(to, around = now) {
  const before = around * scale - scroller.scrollLeft;
  scale = Math.min(Math.max(to, fitting()), 400);
  track.style.setProperty("--pps", scale);
  scroller.scrollLeft = around * scale - Math.min(Math.max(before, 0), scroller.clientWidth);
  paint();
}

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const peaks = data.audio && [bytes(data.audio.caller), bytes(data.audio.agent)];
const loudest = peaks && peaks.map((side) => Math.max(32, side.reduce((most, one) => Math.max(most, one), 0)));

function paint() {
  const wide = scroller.clientWidth, high = 212, dots = window.devicePixelRatio || 1;
  if (wave.width !== Math.round(wide * dots) || wave.height !== Math.round(high * dots)) {
    wave.width = Math.round(wide * dots); wave.height = Math.round(high * dots);
    wave.style.width = `${wide}px`; wave.style.height = `${high}px`;
  }
  const pen = wave.getContext("2d"), from = scroller.scrollLeft / scale, style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  pen.setTransform(dots, 0, 0, dots, 0, 0);
  pen.clearRect(0, 0, wide, high);
  pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((one) => one * scale >= 64) ?? 1200;
  for (let tick = Math.ceil(from / step) * step; tick <= from + wide / scale; tick += step) {
    const x = (tick - from) * scale;
    pen.fillStyle = colour("--line"); pen.fillRect(Math.round(x), 20, 1, high - 20);
    pen.fillStyle = colour("--soft");
    pen.textAlign = x < 12 ? "left" : x > wide - 16 ? "right" : "center";
    pen.fillText(step < 1 ? clock(tick) : clock(tick).slice(0, -2), x, 13);
  }
  if (peaks) [64, 162].forEach((middle, side) => drawWave(pen, side, middle, from, wide, colour(side ? "--accent" : "--voice")));
}
function drawWave(pen, side, middle, from, wide, colour) {
  const { perSecond } = data.audio, first = Math.floor((from * scale) / 3), shift = first * 3 - from * scale;
  pen.fillStyle = colour;
  for (let bar = 0; bar * 3 + shift < wide; bar++) { // bars keep their place in the call as it scrolls
    const begin = Math.floor((((first + bar) * 3) / scale) * perSecond);
    const end = Math.max(begin + 1, Math.floor((((first + bar + 1) * 3) / scale) * perSecond));
    if (begin >= peaks[side].length) break;
    let sum = 0;
    for (let at = begin; at < end && at < peaks[side].length; at++) sum += peaks[side][at];
    const tall = (sum / (end - begin) / loudest[side]) * 29;
    if (tall >= 0.5) pen.fillRect(bar * 3 + shift, middle - tall, 2, 2 * tall);
  }
}

function show(seconds, moving = false) {
  now = seconds;
  $("head").style.setProperty("--now", now); // not on the track: all items would be styled anew
  track.setAttribute("aria-valuenow", now.toFixed(1));
  track.setAttribute("aria-valuetext", spoken(now));
  $("clock").textContent = `${clock(now)} / ${clock(length)}`;
  const x = now * scale - scroller.scrollLeft;
  if (x < 0 || x > scroller.clientWidth - (moving ? 40 : 0)) scroller.scrollLeft = now * scale - scroller.clientWidth * 0.2;
  mark();
}
const starts = [...new Set(data.moments.map((moment) => moment.at))];
const KEYS = {
  ArrowRight: () => now + 1, ArrowUp: () => now + 1, ArrowLeft: () => now - 1, ArrowDown: () => now - 1,
  Home: () => 0, End: () => length,
  PageDown: () => starts.find((at) => at > now + 0.05) ?? length,
  PageUp: () => starts.findLast((at) => at < now - 0.05) ?? 0,
};
function steer() {
  track.addEventListener("click", (event) => seek((event.clientX - track.getBoundingClientRect().left) / scale, true));
  track.addEventListener("keydown", (event) => {
    if (event.key in KEYS) seek(KEYS[event.key]());
    else if (event.key === "Enter" || event.key === " ") toggle();
    else return;
    event.preventDefault();
  });
  let asked = false;
  scroller.addEventListener("scroll", () => {
    if (!asked) requestAnimationFrame(() => { asked = false; paint(); });
    asked = true;
  });
  $("in").addEventListener("click", () => zoom(scale * 1.6));
  $("out").addEventListener("click", () => zoom(scale / 1.6));
  $("fit").addEventListener("click", () => zoom(0));
  new ResizeObserver(() => zoom(scale)).observe(scroller);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  let before = 0;
  addEventListener("beforeprint", () => { // the whole call on a sheet, which is narrower than the window
    before = scale;
    scroller.style.width = "39rem";
    zoom(scale = 0);
  });
  addEventListener("afterprint", () => { scroller.style.width = ""; zoom(before); });
}

// -------------------------------------------------------------------------- conversation

const SAYS = { apology: "apology", filler: "filler", line: "fixed line", say: "said unasked", asked: "unasked" };
const HOLDS = {
  went_on: "stopped for {for}, then went on", interrupted: "stopped: the caller took the floor",
  taken_back: "stopped: the caller had not finished", given_up: "stopped, and given up", open: "stopped",
};
const note = (text, strong = false) => make("span", { class: strong ? "note strong" : "note" }, text);
const quote = (text) => make("q", { dir: "auto" }, text);
const apart = (text) => make("bdi", {}, text); // its direction is its own affair

const DESCRIBED = {
  caller(moment) {
    const notes = { attention: "attention, no turn", echo: "the agent's own words" };
    const parts = [make("span", { class: "text", dir: "auto" }, moment.text || "(no words)")];
    if (moment.note) parts.push(note(notes[moment.note]));
    if (moment.turn !== null) parts.push(note(`turn ${moment.turn}`));
    if (moment.outcome && moment.outcome !== "heard") parts.push(note(words(moment.outcome), true));
    return ["Caller", parts];
  },
  agent(moment) {
    const parts = [];
    if (moment.heard) parts.push(make("span", { class: "text", dir: "auto" }, moment.heard));
    if (moment.rest) {
      const what = moment.other ? " Written: " : moment.heard ? " Not heard: " : "Not heard: ";
      parts.push(make("span", { class: "unseen" }, what), moment.heard ? " " : "");
      parts.push(make("span", { class: "text lost", dir: "auto", title: "written, and not heard" }, moment.rest.trim()));
    }
    if (!parts.length) parts.push(make("span", { class: "text lost" }, "(nothing)"));
    if (SAYS[moment.says]) parts.push(note(SAYS[moment.says]));
    if (moment.cut) parts.push(note("cut off", true));
    if (moment.discarded && !moment.cut) parts.push(note(`given up: ${words(moment.discarded)}`, true));
    return ["Agent", parts];
  },
  draft(moment) {
    const lead = ms(moment.end - moment.at), parked = moment.parked ? "parked, " : "";
    if (moment.fate === "committed") {
      return ["draft", [`${parked}committed, ${lead} ahead${moment.saved ? `; saved ${ms(moment.saved)}` : ""}`]];
    }
    const fate = moment.fate === "discarded" ? `${parked}discarded after ${lead}: ${words(moment.reason)}` : moment.fate;
    const given = moment.given ? ` (${count(moment.given, "character")} for the voice)` : "";
    return ["draft", moment.text ? [`${fate}${given} `, quote(moment.text)] : [`${fate}, nothing written`]];
  },
  tool(moment) {
    const took = moment.end === null ? "never returned" : ms(moment.end - moment.at);
    const parts = [make("code", { dir: "auto" }, `${moment.name}(${moment.arguments})`), ` ${took}${moment.drafted ? ", in a draft" : ""}`];
    if (moment.result) parts.push(" → ", quote(moment.result));
    return ["tool", parts];
  },
  hold: (moment) => ["hold", [HOLDS[moment.verdict].replace("{for}", ms(moment.end - moment.at))]],
  keys: (moment) => ["Caller", [`${count(moment.count, "key")} pressed`]],
  silence: (moment) => ["silence", [`nobody has said anything for long, for the ${moment.count}. time`]],
  lost: (moment) => ["lost", [`the source of turns was gone${moment.end === null ? "" : ` for ${ms(moment.end - moment.at)}`}: `, apart(moment.reason)]],
  error: (moment) => ["error", [make("strong", {}, apart(moment.code))]],
  end: (moment) => ["end", [apart(moment.reason)]],
};
const WHOLE = new Set(["caller", "agent", "keys"]);
const SPECULATIVE = new Set(["draft", "hold"]);
let shown = [];

function fillMoments() {
  shown = data.moments.map((moment) => {
    const [who, parts] = DESCRIBED[moment.kind](moment);
    const turned = moment.kind === "caller" && !moment.note;
    const kinds = [WHOLE.has(moment.kind) ? "" : "aside", SPECULATIVE.has(moment.kind) ? "speculative" : "", turned ? "turned" : ""];
    const item = make("li", { class: kinds.filter(Boolean).join(" ") },
      make("span", {}, timeButton(moment.at, who)), make("span", { class: moment.kind === "agent" ? "who agent" : "who" }, who),
      make("span", { class: "words" }, ...parts));
    $("moments").append(item);
    return { item, at: moment.at, end: moment.end ?? moment.at, whole: WHOLE.has(moment.kind) };
  });
  $("speculation").addEventListener("change", () => $("moments").classList.toggle("only", !$("speculation").checked));
}
function mark() {
  for (const { item, at, end, whole } of shown) {
    const on = whole && now >= at && now < end;
    if (on !== item.classList.contains("now")) {
      item.classList.toggle("now", on);
      if (on) item.setAttribute("aria-current", "true"); else item.removeAttribute("aria-current");
    }
  }
}

// ------------------------------------------------------------------------------- latency

const STAGES = [
  ["speech_end", "Speech ended"], ["maybe_ended", "May have ended"], ["draft_started", "Draft begun"], ["first_text", "First text"],
  ["first_audio_made", "First audio"], ["first_audio_sent", "Audio sent"], ["first_sound_sent", "Sound sent"], ["first_heard", "Heard"],
];
const figure = (value) => (value === null ? "–" : String(Math.round(value * 1000)).replace("-", "−"));

function fillLatency() {
  const { turns, medians, saved } = data.latency, table = $("stages");
  if (!turns.length) return void table.replaceWith(make("p", { class: "hint" }, "No turn was answered."));
  const all = turns.flatMap((turn) => Object.values(turn.stages)).filter((value) => value !== null);
  const low = Math.max(-4, Math.min(0, ...all)), high = Math.min(6, Math.max(0.1, ...all));
  const head = ["Turn", `Chart`, ...STAGES.map(([, name]) => name), "Saved"];
  table.append(make("caption", { class: "unseen" }, "The times of each turn, in milliseconds from its end"));
  table.append(make("thead", {}, make("tr", {}, ...head.map((name, at) => make("th", { scope: "col", class: at === 1 ? "chart" : name === "Sound sent" ? "key" : null }, at === 1 ? make("span", { class: "unseen" }, name) : name)))));
  const cells = (stages, gain) => [...STAGES.map(([stage]) => make("td", { class: stage === "first_sound_sent" ? "key" : null }, figure(stages[stage]))), make("td", {}, figure(gain))];
  table.append(make("tbody", {}, ...turns.map((turn) => {
    const button = timeButton(turn.at, `the end of turn ${turn.turn}`, String(turn.turn));
    return make("tr", { title: turn.text }, make("th", { scope: "row" }, button), make("td", { class: "chart" }, chart(turn.stages, low, high)), ...cells(turn.stages, turn.saved));
  })));
  table.append(make("tfoot", {}, make("tr", {}, make("th", { scope: "row" }, "Median"), make("td", { class: "chart" }, axis(low, high)), ...cells(medians, saved))));
}
function chart(stages, low, high) {
  const x = (value) => `${(((Math.min(Math.max(value, low), high) - low) / (high - low)) * 100).toFixed(2)}%`;
  const wide = (from, to) => `${Math.max(0.3, ((Math.min(to, high) - Math.max(from, low)) / (high - low)) * 100).toFixed(2)}%`;
  const svg = draw("svg", { "aria-hidden": "true" });
  const { speech_end: speech, draft_started: draft, first_audio_made: made, first_text: text, first_sound_sent: sound, first_heard: heard } = stages;
  if (speech !== null && speech < 0) svg.append(draw("line", { class: "decide", x1: x(speech), x2: x(0), y1: 15, y2: 15 }));
  if (draft !== null) svg.append(draw("rect", { class: "ahead", x: x(draft), y: 9, height: 12, width: wide(draft, Math.min(0, made ?? text ?? 0)), rx: 2 }));
  if (sound !== null) svg.append(draw("rect", { class: "react", x: x(0), y: 9, height: 12, width: wide(0, sound), rx: 2 }));
  if (heard !== null) svg.append(draw("circle", { class: "heard", cx: x(heard), cy: 15, r: 3.5 }));
  svg.append(draw("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: 30 }));
  return svg;
}
function axis(low, high) {
  const svg = draw("svg", { "aria-hidden": "true" }), step = [0.1, 0.2, 0.5, 1, 2].find((one) => (high - low) / one <= 6) ?? 5;
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
    const at = `${(((tick - low) / (high - low)) * 100).toFixed(2)}%`;
    svg.append(draw("line", { class: "zero", x1: at, x2: at, y1: 0, y2: 4 }));
    svg.append(draw("text", { x: at, y: 18, "text-anchor": "middle" }, figure(tick)));
  }
  return svg;
}

// ------------------------------------------------------------ figures, ledger, trouble

function fillFigures() {
  const { figures } = data;
  const list = [
    ["median reaction", figures.reaction === null ? "–" : ms(figures.reaction), "main"],
    ["slowest", figures.slowest === null ? "–" : ms(figures.slowest)],
    ["saved by drafts", ms(figures.saved)],
    [figures.turns === 1 ? "turn" : "turns", figures.turns], ["drafts committed", `${figures.committed} of ${figures.drafts}`],
    [figures.interruptions === 1 ? "interruption" : "interruptions", figures.interruptions],
    [figures.errors === 1 ? "error" : "errors", figures.errors],
  ];
  for (const [name, value, kind] of list) $("figures").append(make("div", { class: kind }, make("dt", {}, name), make("dd", {}, String(value))));
  $("ending").textContent = data.ended === null ? " · the record breaks off" : data.ended ? ` · ended: ${data.ended}` : "";
}
function column(title, rows) {
  return make("div", {}, make("h3", {}, title), make("dl", {}, ...rows.map(([name, value, inner]) =>
    make("div", { class: inner ? "sub1" : null }, make("dt", {}, name), make("dd", {}, typeof value === "number" ? value.toLocaleString("en") : value)))));
}
function fillLedger() {
  const { ledger } = data, { voice, fates, tokens, price } = ledger;
  const about = ledger.estimated ? "LLM tokens, some estimated" : "LLM tokens";
  const money = (amount) => `${amount.toFixed(4)} ${ledger.currency}`;
  const share = (number, of) => (of ? `${number.toLocaleString("en")} (${Math.round((100 * number) / of)} %)` : "0");
  for (const fate of ["committed", "open", "parked", "discarded"].filter((one) => fates[one])) {
    const part = make("div", { class: fate === "committed" ? "committed" : "gone" });
    part.style.flexGrow = fates[fate];
    $("share").append(part);
  }
  $("ledger").append(
    column("Drafts", [
      ["begun", ledger.begun], ["committed", share(fates.committed ?? 0, ledger.begun)],
      ["after they were parked", ledger.adopted, true], ["and then taken back", ledger.taken_back, true],
      ["discarded", share(fates.discarded ?? 0, ledger.begun)],
      ...Object.entries(ledger.reasons).map(([reason, number]) => [words(reason), number, true]),
      ...["open", "parked"].filter((fate) => fates[fate]).map((fate) => [`${fate} at the end`, fates[fate]]),
    ]),
    column("Cost", [
      ["characters given to the voice", voice.given],
      ["of drafts, never heard", share(voice.unheard_drafts, voice.given), true],
      ["of replies, never heard", share(voice.unheard_replies, voice.given), true],
      ["characters written in vain by drafts", ledger.written_in_vain],
      [`${about}, of drafts that were lost: in`, tokens.lost.input], ["from the provider's cache", tokens.lost.cached, true],
      ["out", tokens.lost.output, true],
      ["of drafts that were heard: in", tokens.heard.input], ["from the provider's cache", tokens.heard.cached, true],
      ["out", tokens.heard.output, true],
      ...(ledger.currency ? [["price of drafts that were lost", money(price.lost)]] : []),
      ...Object.entries(ledger.declined).map(([reason, number]) => [`not begun: ${words(reason)}`, number]),
      ...(ledger.moves ? [["moves of the eager threshold", ledger.moves]] : []),
    ]),
    column("Gain", [
      ["saved in all", ms(ledger.saved)],
      ["saved a turn, median", data.latency.saved === null ? "–" : ms(data.latency.saved)],
      ["saved for each draft that was lost", ledger.per_extra === null ? "–" : ms(ledger.per_extra)],
    ]),
  );
}
function fillTroubles() {
  const found = data.moments.filter((moment) => moment.kind === "error" || moment.kind === "lost"), list = make("ol", { class: "moments" });
  for (const moment of found) {
    const [who, parts] = DESCRIBED[moment.kind](moment);
    list.append(make("li", {}, make("span", {}, timeButton(moment.at, who)), make("span", { class: "who" }, who), make("span", { class: "words" }, ...parts)));
  }
  if (found.length) $("troubles").append(list);
  if (data.oddities.length) $("troubles").append(make("p", {}, `Out of order, passed over: ${data.oddities.map(([kind, number]) => `${words(kind)} (${number})`).join(", ")}.`));
  if (!found.length && !data.oddities.length) $("troubles").append(make("p", {}, "None."));
}

// ----------------------------------------------------------------------------------- log

const GROUPS = ["caller", "reply", "voice", "tools", "call", "trouble"];
let limit = PAGE;
function fillLog() {
  for (const group of GROUPS) $("groups").append(make("label", { class: "check" }, make("input", { type: "checkbox", value: group, checked: "" }), group));
  $("filter").addEventListener("input", () => { limit = PAGE; listRows(); });
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", () => { limit += PAGE; listRows(); });
  listRows();
}
function listRows() {
  const on = new Set([...$("groups").querySelectorAll("input:checked")].map((box) => box.value));
  const wanted = $("find").value.trim().toLowerCase(), ticks = $("ticks").checked;
  const found = data.log.filter(([, group, name, told, tick]) =>
    on.has(group) && (ticks || !tick) && (!wanted || `${name} ${told}`.toLowerCase().includes(wanted)));
  $("rows").replaceChildren(...found.slice(0, limit).map(([at, group, name, told, tick]) =>
    make("tr", { class: tick ? "tick" : null }, make("td", {}, timeButton(at, name, at.toFixed(3))), make("td", {}, group),
      make("td", {}, make("code", {}, name)), make("td", { dir: "auto" }, told))));
  $("count").textContent = `${Math.min(limit, found.length)} of ${count(data.log.length, "row")}`;
  $("more").hidden = found.length <= limit;
}

fillFigures();
fillTrack();
fillMoments();
fillLatency();
fillLedger();
fillTroubles();
fillLog();
load();
steer();
zoom(16);
show(0);
