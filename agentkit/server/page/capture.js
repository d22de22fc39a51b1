/** The microphone, as the server wants it: one channel, 16 kHz, 16 bits, 20 ms at a time. */

import { Resampler } from "./resample.js";

const RATE = 16000;
const FRAME = 320;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
    this.peak = 0;
    this.muted = false;
    this.port.onmessage = ({ data }) => {
      this.muted = data.muted;
    };
  }

  process([input], [output]) {
    // Where no microphone is, there is silence: who listens counts time by what is heard.
    const quiet = this.muted || input.length === 0;
    const samples = new Float32Array(output[0].length);
    if (!quiet) {
      for (const channel of input) {
        for (let at = 0; at < samples.length; at += 1) samples[at] += channel[at] / input.length;
      }
    }
    this.resampler.push(samples, (sample) => this.take(sample));
    return true;
  }

  take(sample) {
    this.peak = Math.max(this.peak, Math.abs(sample));
    // A mute holds at once, also for what was on its way through the filter.
    this.frame[this.filled] = this.muted ? 0 : Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
    this.filled += 1;
    if (this.filled < FRAME) return;
    const { frame } = this;
    const level = this.muted ? 0 : this.peak;
    this.port.postMessage({ frame, level }, [frame.buffer]);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("capture", Capture);
