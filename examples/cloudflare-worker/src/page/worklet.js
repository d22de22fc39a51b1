/** Cuts the microphone's samples into chunks of 80 ms, 16 bits each, which is what Flux likes best. */

const SECONDS = 0.08;

class Chunks extends AudioWorkletProcessor {
  chunk = new Int16Array(Math.round(sampleRate * SECONDS));
  filled = 0;

  /** @param {Float32Array[][]} inputs */
  process([input]) {
    for (const sample of input?.[0] ?? []) {
      this.chunk[this.filled] = Math.max(-1, Math.min(1, sample)) * 32767;
      this.filled += 1;
      if (this.filled === this.chunk.length) {
        const full = this.chunk;
        this.chunk = new Int16Array(full.length);
        this.filled = 0;
        this.port.postMessage(full, [full.buffer]);
      }
    }
    return true;
  }
}

registerProcessor("chunks", Chunks);
