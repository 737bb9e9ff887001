// @ts-check
/**
 * What runs in the audio thread: a queue of chunks, played block by block.
 *
 * @typedef {{ change: number, at: number }} Mark a change of controls, and the sample from which on it is audible
 * @typedef {{ audio: Float32Array<ArrayBuffer>, first: number, target: number, mark: Mark | false }} Chunk samples, the
 *   number of the first one since the beginning, and the seconds that are to be buffered before playing
 * @typedef {{ played: number | null, held: number, isPlaying: boolean, underruns: number, audible: number[] }} State
 *   samples played since the beginning (null before the first chunk) and samples waiting; `audible`: the changes that
 *   became audible since the last state
 */

/**
 * Buffers chunks and gives out their samples, block by block.
 *
 * Playing starts when `target` seconds are held. When the samples run out, the last one fades out, and what comes next
 * fades in. The class sees nothing of this file: its text is what runs in the audio thread, see `workletSource`.
 */
export class ChunkQueue {
  static FADE = 256; // samples, after an underrun
  static REPORT_BLOCKS = 16; // of 128 samples: 46 ms

  /** @param {number} rate in Hz */
  constructor(rate) {
    this.rate = rate;
    /** @type {Float32Array[]} */
    this.chunks = [];
    this.offset = 0; // into the first chunk
    this.held = 0;
    /** @type {number | null} */
    this.played = null;
    this.target = Infinity; // samples
    this.isPlaying = false;
    this.underruns = 0;
    /** @type {Mark[]} */
    this.marks = [];
    this.last = 0; // the latest sample
    this.risen = ChunkQueue.FADE;
    this.blocks = 0;
  }

  /** @param {Chunk} chunk */
  push({ audio, first, target, mark }) {
    this.played ??= first;
    this.chunks.push(audio);
    this.held += audio.length;
    this.target = target * this.rate;
    if (mark) this.marks.push(mark);
  }

  /**
   * Fills a block with the next samples.
   *
   * @param {Float32Array} out
   * @returns {State | null} a state to report: when something happened, and every `REPORT_BLOCKS` blocks
   */
  fill(out) {
    const wasPlaying = this.isPlaying;
    if (!wasPlaying && this.held >= this.target) {
      this.isPlaying = true;
      if (this.played) this.risen = 0;
    }
    let i = 0;
    for (; this.isPlaying && i < out.length; i++) {
      if (!this.held) {
        this.isPlaying = false;
        this.underruns++;
        break;
      }
      out[i] = this.last = this.next();
    }
    if (this.played !== null) this.played += i;
    for (; i < out.length; i++) out[i] = this.last *= 0.97;
    const played = this.played ?? 0;
    const audible = this.marks.filter(({ at }) => at < played).map(({ change }) => change);
    if (audible.length) this.marks = this.marks.filter(({ at }) => at >= played);
    const news = audible.length > 0 || wasPlaying !== this.isPlaying;
    if (!news && ++this.blocks % ChunkQueue.REPORT_BLOCKS) return null;
    return { played: this.played, held: this.held, isPlaying: this.isPlaying, underruns: this.underruns, audible };
  }

  next() {
    let sample = this.chunks[0][this.offset++];
    if (this.risen < ChunkQueue.FADE) sample *= ++this.risen / ChunkQueue.FADE;
    this.held--;
    if (this.offset === this.chunks[0].length) {
      this.chunks.shift();
      this.offset = 0;
    }
    return sample;
  }
}

function registerPlayer() {
  // @ts-ignore: these names are those of the audio thread
  registerProcessor("dacformer-player", class extends AudioWorkletProcessor {
    constructor() {
      super();
      // @ts-ignore
      this.queue = new ChunkQueue(sampleRate);
      // @ts-ignore
      this.port.onmessage = ({ data }) => this.queue.push(data);
    }

    process(_inputs, [[out]]) {
      const state = this.queue.fill(out);
      // @ts-ignore
      if (state) this.port.postMessage(state);
      return true;
    }
  });
}

/** The text of a module for the audio thread: it takes nothing from this file but the text of these two. */
export function workletSource() {
  return `const ChunkQueue = ${ChunkQueue};\n(${registerPlayer})();`;
}
