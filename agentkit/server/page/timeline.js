/** The call on a time axis, as it happens: two voices, and between them the drafts. */

const WINDOW = [10, 24]; // seconds that are seen while the call goes on: at first, and later
const KEPT = 900; // seconds that are kept
const LANES = { caller: [12, 64], drafts: [88, 18], agent: [122, 64] }; // top and height
const HEIGHT = 204;

export class Timeline {
  /** `now()` gives seconds; levels and events are drawn on that clock. */
  constructor(canvas, now) {
    this.canvas = canvas;
    this.now = now;
    this.pen = canvas.getContext("2d");
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.clear();
    this.colours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.colours();
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  clear() {
    this.levels = { caller: [], agent: [] };
    this.edges = [];
    this.drafts = new Map();
    this.reactions = [];
    this.cuts = [];
    this.tools = new Map();
    this.begin = this.now();
    this.end = null;
  }

  start() {
    this.clear();
    const step = () => {
      if (this.end !== null) return;
      this.draw();
      if (this.calm.matches) setTimeout(step, 500);
      else requestAnimationFrame(step);
    };
    step();
  }

  /** The call is over: all of it is shown. */
  stop() {
    if (this.end !== null) return;
    this.end = this.now();
    for (const draft of this.drafts.values()) draft.end ??= this.end;
    this.draw();
  }

  level(who, level) {
    const now = this.now();
    if (this.end !== null) return;
    this.levels[who].push([now, level]);
    if (this.levels[who].length > KEPT * 55) this.levels[who].splice(0, 5000);
  }

  /** Takes one of the server's messages, which happened at a time of our clock. */
  take(message, at) {
    switch (message.type) {
      case "caller":
        if (message.state === "maybe" || message.state === "ended") this.edges.push([at, message.state]);
        break;
      case "reply":
        if (message.draft) this.drafts.set(message.reply, { at, end: null, fate: "open" });
        break;
      case "committed":
      case "parked":
      case "discarded":
        this.settle(message.reply, message.type === "committed" ? "kept" : "gone", at);
        break;
      case "said":
        if (message.interrupted && message.heard) this.cuts.push(at);
        break;
      case "tool":
        this.tools.set(message.call, { at, end: null });
        break;
      case "returned":
        if (this.tools.has(message.call)) this.tools.get(message.call).end = at;
        break;
      default:
    }
  }

  /** The caller has waited from one time to another. */
  reacted(from, to) {
    this.reactions.push([from, to]);
  }

  settle(reply, fate, at) {
    const draft = this.drafts.get(reply);
    if (draft === undefined || (draft.end !== null && fate === "gone")) return;
    draft.end ??= at;
    draft.fate = fate;
  }

  // ----------------------------------------------------------------------------------- drawing

  colours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["ink", "soft", "line", "voice", "accent", "paper", "wash"];
    this.colour = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
    this.small = `11px ${getComputedStyle(document.body).fontFamily}`;
  }

  draw() {
    const scale = devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    if (this.canvas.width !== Math.round(width * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(HEIGHT * scale);
    }
    const { pen } = this;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, HEIGHT);
    const until = this.end ?? this.now();
    const lasted = until - this.begin;
    const seen = Math.min(WINDOW[1], Math.max(WINDOW[0], lasted / 0.94));
    const length = this.end === null ? seen : Math.max(4, lasted);
    const from = this.end === null ? Math.max(this.begin, until - length * 0.94) : this.begin;
    const x = (time) => ((time - from) / length) * width;
    this.axis(x, from, length, width);
    this.voice("caller", this.colour.voice, x, from, length, width);
    this.voice("agent", this.colour.accent, x, from, length, width);
    for (const draft of this.drafts.values()) this.draft(draft, x, until);
    for (const [at, kind] of this.edges) this.edge(x(at), kind);
    this.labelled = -Infinity;
    for (const [begin, end] of this.reactions) this.reaction(x(begin), x(end), end - begin, width);
    for (const at of this.cuts) this.cut(x(at));
    for (const tool of this.tools.values()) this.tool(x(tool.at), x(tool.end ?? until));
    if (this.end === null && until > this.begin + 0.2) this.head(x(until));
  }

  axis(x, from, length, width) {
    const { pen, colour } = this;
    const step = [1, 2, 5, 10, 30, 60, 120, 300].find((one) => length / one < 14) ?? 600;
    pen.strokeStyle = colour.line;
    pen.fillStyle = colour.soft;
    pen.font = this.small;
    pen.lineWidth = 1;
    for (const [top, height] of [LANES.caller, LANES.agent]) this.rule(0, top + height / 2, width, top + height / 2);
    const first = Math.ceil((from - this.begin) / step) * step;
    for (let at = first; at <= from - this.begin + length; at += step) {
      const place = Math.round(x(this.begin + at)) + 0.5;
      this.rule(place, 8, place, HEIGHT - 16);
      const text = length > 120 ? `${Math.floor(at / 60)}:${String(at % 60).padStart(2, "0")}` : `${at} s`;
      pen.fillText(text, place + 3, HEIGHT - 4);
    }
  }

  rule(x1, y1, x2, y2) {
    this.pen.beginPath();
    this.pen.moveTo(x1, y1);
    this.pen.lineTo(x2, y2);
    this.pen.stroke();
  }

  /** The loudest of each two pixels. */
  voice(who, colour, x, from, length, width) {
    const { pen } = this;
    const [top, height] = LANES[who];
    const columns = new Float32Array(Math.ceil(width / 3) + 1);
    const levels = this.levels[who];
    for (let i = levels.length - 1; i >= 0 && levels[i][0] >= from - 0.1; i -= 1) {
      const column = Math.floor(x(levels[i][0]) / 3);
      if (column >= 0 && column < columns.length) columns[column] = Math.max(columns[column], levels[i][1]);
    }
    if (length / columns.length < 0.021) fill(columns);
    pen.fillStyle = colour;
    columns.forEach((level, column) => {
      if (level < 0.002) return;
      const tall = Math.max(2, Math.min(1, level) ** 0.65 * height);
      pen.fillRect(column * 3, top + (height - tall) / 2, 2, tall);
    });
  }

  draft({ at, end, fate }, x, until) {
    const { pen, colour } = this;
    const [top, height] = LANES.drafts;
    const [left, right] = [x(at), Math.max(x(end ?? until), x(at) + 4)];
    if (right < 0) return;
    pen.beginPath();
    pen.roundRect(left, top, right - left, height, 4);
    if (fate === "kept") {
      pen.fillStyle = colour.accent;
      pen.fill();
      return;
    }
    pen.fillStyle = fate === "open" ? colour.wash : colour.paper;
    pen.fill();
    pen.strokeStyle = fate === "open" ? colour.accent : colour.soft;
    pen.setLineDash(fate === "open" ? [] : [3, 3]);
    pen.lineWidth = 1.5;
    pen.stroke();
    pen.setLineDash([]);
  }

  edge(place, kind) {
    const { pen, colour } = this;
    const [top, height] = LANES.caller;
    pen.strokeStyle = kind === "ended" ? colour.ink : colour.soft;
    pen.setLineDash(kind === "ended" ? [] : [2, 3]);
    pen.lineWidth = kind === "ended" ? 1.5 : 1.25;
    this.rule(place, top - 4, place, top + height + 6);
    pen.setLineDash([]);
  }

  /** The pause that the caller hears: the wider it is the worse. */
  reaction(left, right, seconds, width) {
    if (right < 0) return;
    const { pen, colour } = this;
    const middle = LANES.agent[0] - 6;
    pen.strokeStyle = colour.ink;
    pen.lineWidth = 2;
    this.rule(left, middle, Math.max(right, left + 2), middle);
    this.rule(left, middle - 4, left, middle + 4);
    this.rule(Math.max(right, left + 2), middle - 4, Math.max(right, left + 2), middle + 4);
    pen.font = this.font;
    pen.fillStyle = colour.ink;
    const text = `${Math.round(seconds * 1000)} ms`;
    const room = Math.max(right, left + 2) + 6;
    const end = room + pen.measureText(text).width;
    if (end > width || left < this.labelled) return;
    pen.fillText(text, room, middle + 4);
    this.labelled = end + 4;
  }

  cut(place) {
    this.pen.fillStyle = this.colour.ink;
    this.pen.fillRect(place - 1.5, LANES.agent[0], 3, LANES.agent[1]);
  }

  tool(left, right) {
    this.pen.fillStyle = this.colour.soft;
    this.pen.fillRect(left, LANES.drafts[0] - 5, Math.max(3, right - left), 3);
  }

  head(place) {
    this.pen.strokeStyle = this.colour.accent;
    this.pen.lineWidth = 1.5;
    this.rule(place, 6, place, HEIGHT - 18);
  }
}

/** A level lasts 20 ms: where that is more than a column, the next columns have it, too. */
function fill(columns) {
  for (let at = columns.length - 2; at > 0; at -= 1) {
    if (columns[at] === 0 && columns[at - 1] > 0 && columns[at + 1] > 0) {
      columns[at] = (columns[at - 1] + columns[at + 1]) / 2;
    }
  }
}
