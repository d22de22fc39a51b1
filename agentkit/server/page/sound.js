/** The microphone and the loudspeaker. Nothing here knows the page or the server. */

import { Problem } from "./problems.js";

/** Says why there can be no sound on this page at all; undefined if there can. */
export function obstacle() {
  if (!window.isSecureContext) return new Problem("insecure");
  if (!navigator.mediaDevices || !("AudioWorkletNode" in window)) return new Problem("old");
  return undefined;
}

/** Whether this browser lets a page choose the loudspeaker. */
export const canChooseLoudspeaker = "setSinkId" in (window.AudioContext?.prototype ?? {});

/** What is plugged in: `{ microphones, loudspeakers }`, each with `id` and `name`. */
export async function devices() {
  const found = await navigator.mediaDevices.enumerateDevices();
  const named = (kind) =>
    found
      .filter((one) => one.kind === kind && one.deviceId !== "" && one.label !== "")
      .map((one) => ({ id: one.deviceId, name: one.label }));
  return { microphones: named("audioinput"), loudspeakers: named("audiooutput") };
}

const REASONS = new Map([
  ["NotAllowedError", "denied"],
  ["SecurityError", "denied"],
  ["NotFoundError", "absent"],
  ["NotReadableError", "busy"],
  ["AbortError", "busy"],
]);

async function stream(device) {
  const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: false, autoGainControl: true };
  const chosen = device ? { ...audio, deviceId: { exact: device } } : audio;
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: chosen });
  } catch (error) {
    if (error.name === "OverconstrainedError" && device) return stream("");
    throw new Problem(REASONS.get(error.name) ?? "microphone", error.message);
  }
}

/** Hands over 20 ms of what it hears at a time: the microphone, or silence where there is none. */
export class Microphone {
  /**
   * Asks for the microphone, and opens it. Throws a Problem.
   *
   * `on.frame(samples, level)` is called for each frame, `on.lost()` if the device goes away.
   */
  static async open({ device, without, on }) {
    const heard = without ? null : await stream(device);
    const context = new AudioContext();
    await load(context, "capture.js");
    await context.resume();
    return new Microphone(context, heard, on);
  }

  constructor(context, heard, on) {
    this.context = context;
    this.on = on;
    this.muted = false;
    this.node = new AudioWorkletNode(context, "capture", {
      channelCount: 1,
      channelCountMode: "explicit",
      outputChannelCount: [1],
    });
    // It gives no sound: only what leads to the loudspeaker is sure to be run.
    this.node.connect(context.destination);
    this.node.port.onmessage = ({ data }) => on.frame(data.frame, data.level);
    context.onstatechange = () => wake(context);
    this.listen(heard);
  }

  /** Listens to a stream from now on. */
  listen(heard) {
    this.source?.disconnect();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = heard;
    if (heard === null) return;
    this.source = this.context.createMediaStreamSource(heard);
    this.source.connect(this.node);
    for (const track of heard.getTracks()) {
      track.enabled = !this.muted;
      track.onended = () => this.stream === heard && this.on.lost();
    }
  }

  /** Takes another device. Throws a Problem; it then goes on with the one before. */
  async choose(device) {
    this.listen(await stream(device));
  }

  /** Of the device that is listened to; "" if none is. */
  get device() {
    return this.stream?.getAudioTracks()[0]?.getSettings().deviceId ?? "";
  }

  mute(muted) {
    this.muted = muted;
    this.node.port.postMessage({ muted });
    for (const track of this.stream?.getTracks() ?? []) track.enabled = !muted;
  }

  close() {
    this.context.onstatechange = null;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    void this.context.close();
  }
}

/** Plays what it is given, and says how far it has come. */
export class Loudspeaker {
  /**
   * Opens it at a rate in Hz, which the browser converts if need be.
   *
   * `on.heard(epoch, at)`: it has come to a mark. `on.level(level)`: how loud it is.
   * `on.sounding(sounding)`: it begins to play, or has run dry. `on.silent(seconds)`: so long after
   * a clear nothing was rendered any more.
   */
  static async open(rate, on) {
    const context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    await load(context, "playback.js");
    await context.resume();
    return new Loudspeaker(context, on);
  }

  constructor(context, on) {
    this.context = context;
    this.rate = context.sampleRate;
    this.clearedAt = 0;
    this.node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.node.connect(context.destination);
    this.node.port.onmessage = ({ data }) => {
      if (data.kind === "heard") on.heard(data.epoch, data.at);
      else if (data.kind === "level") on.level(data.level);
      else if (data.kind === "silent") this.silenced(data.time, on);
      else on.sounding(data.sounding);
    };
    context.onstatechange = () => wake(context);
    this.timer = setInterval(() => this.measure(), 1000);
    this.measure();
  }

  /** Tells the worklet how long it takes from being rendered to being heard. */
  measure() {
    this.delay = outputDelay(this.context);
    this.node.port.postMessage({ kind: "output", delay: this.delay });
  }

  play(buffer) {
    const samples = new Int16Array(buffer);
    this.node.port.postMessage({ kind: "audio", samples }, [buffer]);
  }

  mark(epoch, at) {
    this.node.port.postMessage({ kind: "mark", epoch, at });
  }

  clear(epoch) {
    this.clearedAt = this.context.currentTime;
    this.node.port.postMessage({ kind: "clear", epoch });
  }

  silenced(time, on) {
    performance.mark("silent");
    on.silent(Math.max(0, time - this.clearedAt));
  }

  async choose(device) {
    await this.context.setSinkId(device);
    this.measure();
  }

  close() {
    clearInterval(this.timer);
    this.context.onstatechange = null;
    void this.context.close();
  }
}

/** The part that runs beside the sound comes from the server, which may be gone by now. */
async function load(context, name) {
  try {
    await context.audioWorklet.addModule(new URL(name, import.meta.url));
  } catch {
    void context.close();
    throw new Problem(navigator.onLine ? "unreachable" : "offline");
  }
}

/** Seconds from rendering to hearing, from the output's own time stamp where the browser has it. */
function outputDelay(context) {
  const { contextTime = 0, performanceTime = 0 } = context.getOutputTimestamp?.() ?? {};
  if (contextTime > 0 && performanceTime > 0) {
    const heard = contextTime + (performance.now() - performanceTime) / 1000;
    const delay = context.currentTime - heard;
    if (delay >= 0 && delay < 1) return Math.max(delay, context.outputLatency || 0);
  }
  return context.outputLatency || context.baseLatency || 0;
}

/** Phones stop the sound of a page when another program wants it, and do not begin again alone. */
function wake(context) {
  if (context.state === "suspended" || context.state === "interrupted") void context.resume();
}
