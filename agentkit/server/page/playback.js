/**
 * What the agent says: a queue that is played, cleared, and asked how far it has come.
 *
 * Samples are counted from the beginning of an epoch; a clear begins the next one. A mark is told
 * once the loudspeaker has come to it: when its sample was rendered, and the output's delay has
 * passed, both by the clock of the sound itself.
 */

const FADE = 0.005; // seconds: without it a clear would end in a click
const LEVEL_EVERY = 0.02;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.epoch = 0;
    this.chunks = [];
    this.at = 0; // in the first chunk
    this.queued = 0;
    this.played = 0;
    this.rendered = 0; // the frame behind the last sample that was played
    this.marks = [];
    this.due = [];
    this.tail = null;
    this.delay = 0;
    this.peak = 0;
    this.leveled = 0;
    this.sounding = false;
    this.port.onmessage = ({ data }) => this[data.kind](data);
  }

  audio({ samples }) {
    this.chunks.push(samples);
    this.queued += samples.length;
  }

  mark({ epoch, at }) {
    if (epoch === this.epoch) this.marks.push(at);
  }

  output({ delay }) {
    this.delay = delay;
  }

  clear({ epoch }) {
    const frames = Math.min(Math.round(FADE * sampleRate), this.queued - this.played);
    const tail = new Float32Array(frames);
    this.read(tail);
    this.tail = { samples: tail.map((s, at) => s * (1 - (at + 1) / (frames + 1))), at: 0 };
    this.epoch = epoch;
    this.chunks = [];
    this.at = this.queued = this.played = 0;
    this.marks = [];
    this.due = [];
  }

  process(_inputs, [[output]]) {
    const played = this.read(output);
    for (let at = 0; at < played; at += 1) this.peak = Math.max(this.peak, Math.abs(output[at]));
    this.pass(played);
    this.fade(output);
    this.say(played > 0);
    return true;
  }

  /** Fills from the queue; returns how many samples there were. */
  read(output) {
    let filled = 0;
    while (filled < output.length && this.chunks.length > 0) {
      const [chunk] = this.chunks;
      const some = Math.min(output.length - filled, chunk.length - this.at);
      for (let i = 0; i < some; i += 1) output[filled + i] = chunk[this.at + i] / 32768;
      filled += some;
      this.at += some;
      if (this.at === chunk.length) {
        this.chunks.shift();
        this.at = 0;
      }
    }
    return filled;
  }

  /** Marks that were played are told once they were heard. */
  pass(played) {
    const before = this.played;
    this.played += played;
    if (played > 0) this.rendered = currentFrame + played;
    while (this.marks.length > 0 && this.marks[0] <= this.played) {
      const at = this.marks.shift();
      this.due.push({ at, frame: at > before ? currentFrame + at - before : this.rendered });
    }
    const heard = currentFrame - this.delay * sampleRate;
    while (this.due.length > 0 && this.due[0].frame <= heard) {
      this.port.postMessage({ kind: "heard", epoch: this.epoch, at: this.due.shift().at });
    }
  }

  /** What was playing when it was cleared dies away, beside what may follow. */
  fade(output) {
    if (this.tail === null) return;
    const { samples } = this.tail;
    let at = 0;
    while (at < output.length && this.tail.at < samples.length) {
      output[at] += samples[this.tail.at];
      at += 1;
      this.tail.at += 1;
    }
    if (this.tail.at < samples.length) return;
    this.tail = null;
    if (samples.length > 0) {
      this.port.postMessage({ kind: "silent", time: (currentFrame + at) / sampleRate });
    }
  }

  say(sounding) {
    if (sounding !== this.sounding) {
      this.sounding = sounding;
      this.port.postMessage({ kind: "sounding", sounding });
    }
    if (!sounding || currentTime - this.leveled < LEVEL_EVERY) return;
    this.leveled = currentTime;
    this.port.postMessage({ kind: "level", level: this.peak });
    this.peak = 0;
  }
}

registerProcessor("playback", Playback);
