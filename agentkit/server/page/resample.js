/** Converts a stream of samples between two rates, always with the same delay. */

const CROSSINGS = 16; // of zero, of the filter, on each side
const KEPT = 0.94; // of the band that both rates can hold

export class Resampler {
  /** Rates are whole numbers of Hz. */
  constructor(from, to) {
    const divisor = gcd(from, to);
    this.up = to / divisor;
    this.down = from / divisor;
    const cutoff = KEPT * Math.min(1, to / from);
    this.half = Math.ceil(CROSSINGS / Math.min(1, to / from));
    this.taps = 2 * this.half;
    this.filters = Array.from({ length: this.up }, (_, phase) =>
      filter(phase / this.up, this.half, cutoff),
    );
    this.kept = new Float32Array(0);
    this.at = 0;
    this.phase = 0;
  }

  /** Hands each sample that follows from these to `take`. */
  push(samples, take) {
    const all = new Float32Array(this.kept.length + samples.length);
    all.set(this.kept);
    all.set(samples, this.kept.length);
    while (this.at + this.taps <= all.length) {
      const taps = this.filters[this.phase];
      let sum = 0;
      for (let tap = 0; tap < this.taps; tap += 1) sum += taps[tap] * all[this.at + tap];
      take(sum);
      this.phase += this.down;
      this.at += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    const used = Math.min(this.at, all.length);
    this.kept = all.slice(used);
    this.at -= used;
  }
}

/** A windowed sinc between two samples, its sum 1, so that what is constant stays as it is. */
function filter(offset, half, cutoff) {
  const taps = new Float32Array(2 * half);
  let sum = 0;
  for (let tap = 0; tap < taps.length; tap += 1) {
    const x = tap - (half - 1) - offset;
    const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / (half + 1));
    taps[tap] = window * (x === 0 ? cutoff : Math.sin(Math.PI * cutoff * x) / (Math.PI * x));
    sum += taps[tap];
  }
  return taps.map((value) => value / sum);
}

function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}
