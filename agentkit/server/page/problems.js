/** What can be missing, in words for whoever sits before the page. */

const WORDS = {
  insecure:
    "Browsers give the microphone to secure pages only: open this page over https, or on localhost.",
  old: "This browser is too old to talk and listen here.",
  denied:
    "The browser does not let this page use the microphone. Allow it beside the address, then talk again.",
  absent: "There is no microphone. Plug one in, then talk again.",
  busy: "The microphone cannot be opened: another program may be using it.",
  microphone: "The microphone cannot be opened.",
  gone: "The microphone was unplugged. Choose another one: until then the agent hears silence.",
  loudspeaker: "This loudspeaker cannot be used.",
  unreachable: "The server cannot be reached. Is it running?",
  offline: "This machine is offline.",
  refused: "The server does not let this page talk with the agent.",
  full: "All lines are busy. Try again in a moment.",
  draining: "The server is about to stop and takes no new conversations.",
  twice: "This conversation is going on already.",
  token: "The server did not take the token: it was used, or is too old. Talk again.",
  start: "The server does not understand this page. Load it again.",
  socket: "The server refused the connection. Something between here and there may not let WebSockets pass.",
  late: "The server did not answer in time. Try again.",
  lost: "The connection was lost.",
  slow: "The network is too slow: some of what you say is lost.",
  deaf: "The agent cannot hear you for a moment.",
  failed: "Something behind the agent failed",
};

/** Without a microphone one can still write. */
const BY_WRITING = new Set(["denied", "absent", "busy", "microphone"]);

export class Problem extends Error {
  /** `detail` is added in brackets: what the browser or the server says of it. */
  constructor(code, detail = "") {
    super(WORDS[code] + (detail && (code === "microphone" || code === "failed" || code === "refused") ? ` (${detail})` : ""));
    this.code = code;
    this.byWriting = BY_WRITING.has(code);
  }
}
