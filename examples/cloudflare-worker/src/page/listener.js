/** The microphone, and the socket that it is sent to. Nothing here knows the page. */

/** What went wrong, in words for whoever sits before the page. */
export class Problem extends Error {}

/** Bytes that may wait to be sent: 8 s at 16 kHz. What comes then is left out. */
const MAX_WAITING = 256 * 1024;

const REASONS = new Map([
  [
    "NotAllowedError",
    "The browser does not let this page use the microphone. Allow it beside the address, then start again.",
  ],
  ["NotFoundError", "There is no microphone. Plug one in, then start again."],
  ["NotReadableError", "The microphone cannot be opened: another program may be using it."],
]);

/** Says why there can be no microphone on this page at all; undefined if there can. */
export function obstacle() {
  if (!isSecureContext) {
    return "Browsers give the microphone to secure pages only: open this page over https, or on localhost.";
  }
  if (!navigator.mediaDevices || !("AudioWorkletNode" in globalThis)) {
    return "This browser is too old to listen to a microphone here.";
  }
  return undefined;
}

/** The microphone: `rate` in Hz, and chunks of 80 ms of 16-bit samples. */
export class Microphone {
  /**
   * Asks for the microphone and opens it. Throws a Problem.
   *
   * @param {() => void} onLost called if the device goes away
   */
  static async open(onLost) {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      const { name, message } = /** @type {DOMException} */ (error);
      throw new Problem(REASONS.get(name) ?? `The microphone cannot be opened: ${message}`);
    }
    for (const track of stream.getTracks()) track.addEventListener("ended", onLost);
    const { context, source } = connect(stream);
    await context.audioWorklet.addModule("/worklet.js");
    await context.resume();
    return new Microphone(stream, context, source);
  }

  /**
   * @param {MediaStream} stream
   * @param {AudioContext} context
   * @param {MediaStreamAudioSourceNode} source
   */
  constructor(stream, context, source) {
    this.stream = stream;
    this.context = context;
    this.source = source;
    this.rate = context.sampleRate;
  }

  /**
   * Hands over the chunks from now on.
   *
   * @param {(chunk: Int16Array<ArrayBuffer>) => void} take
   */
  start(take) {
    const node = new AudioWorkletNode(this.context, "chunks", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    node.port.onmessage = ({ data }) => take(data);
    this.source.connect(node);
  }

  close() {
    for (const track of this.stream.getTracks()) track.stop();
    void this.context.close();
  }
}

/**
 * At 16 kHz, or, where the browser does not convert (Firefox), at the microphone's own rate.
 *
 * @param {MediaStream} stream
 */
function connect(stream) {
  const context = new AudioContext({ sampleRate: 16000 });
  try {
    return { context, source: context.createMediaStreamSource(stream) };
  } catch {
    void context.close();
    const own = new AudioContext();
    return { context: own, source: own.createMediaStreamSource(stream) };
  }
}

/**
 * A signed token. Throws a Problem.
 *
 * @param {string} given the secret, a signed token, or nothing
 */
export async function signedToken(given) {
  if (/^\d+\.[\w-]{43}$/.test(given)) return given;
  /** @type {Record<string, string>} */
  const headers = given === "" ? {} : { Authorization: `Bearer ${given}` };
  const answer = await reach("/token", { method: "POST", headers });
  if (answer.ok) return /** @type {string} */ ((await answer.json()).token);
  if (answer.status === 401 && given === "") throw new Problem("Enter the token first.");
  throw new Problem(await why(answer));
}

/**
 * Opens the socket. Throws a Problem.
 *
 * @param {Record<string, string>} query
 * @returns {Promise<WebSocket>}
 */
export function openSocket(query) {
  const url = new URL(`/flux?${new URLSearchParams(query)}`, location.href);
  const socket = new WebSocket(url.href.replace(/^http/, "ws"));
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject(refusal(url));
  }).then(
    () => socket,
    async (problem) => {
      throw await problem;
    },
  );
}

/**
 * A browser does not say why a socket was refused; the same request without one does.
 *
 * @param {URL} url
 */
async function refusal(url) {
  const answer = await reach(url.href);
  return new Problem(
    answer.status === 426
      ? "The Worker cannot reach the model. Try again later."
      : await why(answer),
  );
}

/**
 * @param {string} url
 * @param {RequestInit} [init]
 */
async function reach(url, init) {
  try {
    return await fetch(url, init);
  } catch {
    throw new Problem("The Worker cannot be reached. Is this machine online?");
  }
}

/** @param {Response} answer */
async function why(answer) {
  try {
    return `The Worker said: ${(await answer.json()).error}`;
  } catch {
    return `The Worker answered ${answer.status}.`;
  }
}

/**
 * Sends a chunk, unless the network is far behind.
 *
 * @param {WebSocket} socket
 * @param {Int16Array<ArrayBuffer>} chunk
 * @returns {boolean} whether it was sent
 */
export function send(socket, chunk) {
  if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > MAX_WAITING) return false;
  socket.send(chunk);
  return true;
}
