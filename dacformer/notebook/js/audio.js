// @ts-check
/**
 * Plays chunks of samples that arrive over a network, and measures it: buffering, underruns, the delay of a control.
 * Knows nothing of Jupyter and draws nothing.
 *
 * @typedef {import("./worklet.js").Mark} Mark
 * @typedef {import("./worklet.js").Chunk} Chunk
 * @typedef {import("./worklet.js").State} State
 */

import { workletSource } from "./worklet.js";

const REPORT_MS = 200; // between reports to the sender; at once where something happens
const NO_ANSWER_MS = 3000;
const RAMP_SECONDS = 0.02; // of level, start and stop, so that nothing clicks
export const FFT_SIZE = 4096;
const LOWEST_DB = -100, HIGHEST_DB = -20; // of a bin of the spectrogram
export const QUIETEST_DB = -40; // of the level; from here down it is silent

/** Plays chunks through an AudioWorklet: sample by sample what was pushed. */
export class WorkletOutput {
  /**
   * @param {AudioContext} context
   * @param {(state: State) => void} onState
   */
  static async make(context, onState) {
    const url = URL.createObjectURL(new Blob([workletSource()], { type: "text/javascript" }));
    try {
      await context.audioWorklet.addModule(url);
    } finally {
      URL.revokeObjectURL(url);
    }
    return new WorkletOutput(context, onState);
  }

  /**
   * @param {AudioContext} context
   * @param {(state: State) => void} onState
   */
  constructor(context, onState) {
    this.node = new AudioWorkletNode(context, "dacformer-player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => onState(data);
  }

  /** @param {Chunk} chunk */
  push(chunk) {
    this.node.port.postMessage(chunk, [chunk.audio.buffer]);
  }

  close() {
    this.node.port.onmessage = null;
  }
}

/**
 * Plays chunks as scheduled buffers, one after the other, where there is no AudioWorklet. The browser resamples each, if
 * it has to.
 */
export class ScheduledOutput {
  /**
   * @param {AudioContext} context
   * @param {(state: State) => void} onState
   * @param {number} rate in Hz
   */
  constructor(context, onState, rate) {
    this.context = context;
    this.onState = onState;
    this.rate = rate;
    this.node = new GainNode(context);
    /** @type {Float32Array<ArrayBuffer>[]} */
    this.waiting = [];
    /** @type {Mark[]} */
    this.marks = [];
    this.underruns = 0;
    this.isPlaying = false;
    /** @type {number | null} */
    this.end = null; // samples since the beginning, of what came
    this.endTime = 0; // when that is played
    this.timer = setInterval(() => this.tell(), 50);
  }

  /** @param {Chunk} chunk */
  push(chunk) {
    this.end = (this.end ?? chunk.first) + chunk.audio.length;
    this.waiting.push(chunk.audio);
    if (chunk.mark) this.marks.push(chunk.mark);
    const held = this.waiting.reduce((sum, audio) => sum + audio.length, 0);
    this.tell();
    if (!this.isPlaying && held < chunk.target * this.rate) return;
    if (!this.isPlaying) this.endTime = this.context.currentTime + 0.01;
    this.isPlaying = true;
    for (const audio of this.waiting.splice(0)) {
      const buffer = new AudioBuffer({ length: audio.length, sampleRate: this.rate });
      buffer.copyToChannel(audio, 0);
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(this.node);
      source.start(this.endTime);
      this.endTime += audio.length / this.rate;
    }
  }

  tell() {
    if (this.end === null) return;
    if (this.isPlaying && this.context.currentTime > this.endTime) {
      this.isPlaying = false;
      this.underruns++;
    }
    const waiting = this.waiting.reduce((sum, audio) => sum + audio.length, 0);
    const scheduled = this.isPlaying ? Math.round((this.endTime - this.context.currentTime) * this.rate) : 0;
    const played = this.end - waiting - scheduled;
    const audible = this.marks.filter(({ at }) => at < played).map(({ change }) => change);
    this.marks = this.marks.filter(({ at }) => at >= played);
    this.onState({ played, held: waiting + scheduled, isPlaying: this.isPlaying, underruns: this.underruns, audible });
  }

  close() {
    clearInterval(this.timer);
  }
}

/** The sound of one page: an audio context, an output, level and analyser, and the messages of the protocol. */
export class Sound {
  /**
   * @param {{
   *   rate: number, levelDb: number, send: (message: Record<string, any>) => void, noAnswer: string
   * }} options the rate in Hz, what brings messages to the sender of the chunks, and what is said where it is silent
   */
  constructor({ rate, levelDb, send, noAnswer }) {
    this.rate = rate;
    this.levelDb = levelDb;
    this.transmit = send;
    this.noAnswer = noAnswer;
    this.page = Math.random().toString(36).slice(2); // tells this page from others that show the same player
    /** @type {Map<number, number>} */
    this.moved = new Map(); // when each change of controls was made
    this.target = 0;
    /** @type {number | null} */
    this.delay = null; // seconds, the last one measured
    this.note = "";
    /** @type {Set<() => void>} */
    this.views = new Set(); // functions that draw anew
    this.begin(0);
  }

  begin(lastChange) {
    this.change = lastChange;
    /** @type {Omit<State, "audible">} */
    this.state = { played: null, held: 0, isPlaying: false, underruns: 0 };
    this.reported = { underruns: 0, at: 0 };
  }

  /** Whether it was started and not stopped; `state.isPlaying` tells whether samples come out. */
  get isStarted() {
    return Boolean(this.context);
  }

  say(note) {
    this.note = note;
    for (const draw of this.views) draw();
  }

  send(message) {
    this.transmit({ ...message, page: this.page });
  }

  /** Notes when a change of controls was made; the sender marks the samples that follow it. */
  noteMove(change) {
    this.moved.set(change, performance.now());
  }

  /** @param {number} lastChange the number of the latest change of controls */
  async play(lastChange) {
    const { rate } = this;
    let context;
    let why = "";
    try {
      context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    } catch (error) {
      context = new AudioContext();
      why = `this browser does not play at ${rate} Hz and resamples`;
    }
    this.context = context;
    context.resume();
    this.begin(lastChange);
    const onState = (state) => this.onState(state);
    let output;
    if (!why) {
      try {
        output = await WorkletOutput.make(context, onState);
      } catch (error) {
        why = window.isSecureContext
          ? "this page forbids an AudioWorklet"
          : "an AudioWorklet needs https or localhost";
      }
    }
    if (this.context !== context) return; // stopped meanwhile
    this.connect(output ?? new ScheduledOutput(context, onState, rate));
    this.answered = performance.now();
    this.timer = setInterval(() => this.watch(), REPORT_MS);
    this.unanswered = false;
    this.say(why && `Scheduled buffers instead of an AudioWorklet: ${why}.`);
    this.send({ type: "play" }); // last: where the sender is gone, that is what is said
  }

  connect(output) {
    const { context } = this;
    this.output = output;
    this.gain = new GainNode(context, { gain: this.level });
    this.analyser = new AnalyserNode(context, {
      fftSize: FFT_SIZE, smoothingTimeConstant: 0, minDecibels: LOWEST_DB, maxDecibels: HIGHEST_DB,
    });
    output.node.connect(this.gain).connect(this.analyser).connect(context.destination);
  }

  stop() {
    this.send({ type: "stop" });
    this.end("");
  }

  /** Goes silent at once; what is still sent is not played. */
  end(note) {
    clearInterval(this.timer);
    if (this.context) {
      const { context, gain, output } = this;
      gain?.gain.setTargetAtTime(0, context.currentTime, RAMP_SECONDS / 4);
      output?.close();
      setTimeout(() => context.close(), 1000 * RAMP_SECONDS + 100);
    }
    this.context = this.output = this.gain = this.analyser = undefined;
    this.state = { ...this.state, held: 0, isPlaying: false };
    this.say(note);
  }

  get level() {
    return this.levelDb > QUIETEST_DB ? 10 ** (this.levelDb / 20) : 0;
  }

  setLevel(db) {
    this.levelDb = db;
    this.gain?.gain.setTargetAtTime(this.level, this.context.currentTime, RAMP_SECONDS);
  }

  receive(message, buffers) {
    if (!this.isStarted) return;
    if (message.page !== this.page) {
      if (message.type === "chunk") this.end("It plays in another tab now.");
      return;
    }
    if (message.type === "ended") return this.end("");
    if (!this.output) return;
    this.answered = performance.now();
    if (this.unanswered) this.say("");
    this.unanswered = false;
    this.target = message.target;
    const { buffer, byteOffset, byteLength } = buffers[0];
    const audio = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
    const mark = message.change > this.change && { change: message.change, at: message.effective_from };
    this.change = message.change;
    this.output.push({ audio, first: message.first, target: message.target, mark });
  }

  /** @param {State} state */
  onState({ audible, ...state }) {
    const news = state.isPlaying !== this.state.isPlaying || state.underruns !== this.state.underruns;
    this.state = state;
    let delay = null;
    for (const change of audible) {
      const outside = (this.context?.outputLatency ?? 0) * 1000; // on its way to the ear
      delay = this.delay = (performance.now() - this.moved.get(change) + outside) / 1000;
      for (const number of this.moved.keys()) if (number <= change) this.moved.delete(number);
    }
    if (news || delay) this.report(delay);
  }

  report(delay) {
    const { played, isPlaying, underruns } = this.state;
    if (played === null) return; // nothing came yet
    const since = underruns - this.reported.underruns;
    this.send({ type: "report", played, is_playing: isPlaying, underruns: since, delay });
    this.reported = { underruns, at: performance.now() };
  }

  watch() {
    const silent = performance.now() - this.answered > NO_ANSWER_MS && !this.state.isPlaying;
    this.unanswered ||= silent;
    if (silent) this.say(this.noAnswer);
    if (performance.now() - this.reported.at > REPORT_MS / 2) this.report(null);
  }
}
