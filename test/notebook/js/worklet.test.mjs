// The queue of the audio thread: when it plays, what it plays, and what it reports.

import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";

import { ChunkQueue, workletSource } from "../../../dacformer/notebook/js/worklet.js";

const RATE = 1000;
const BLOCK = 128;

/** Samples from `first` on, each its own number, so that it is seen which was played. */
const samples = (first, count) => Float32Array.from({ length: count }, (_, i) => first + i);
const chunk = (first, count, more = {}) => ({ audio: samples(first, count), first, target: 0.3, mark: false, ...more });

function fill(queue) {
  const out = new Float32Array(BLOCK);
  return { out, state: queue.fill(out) };
}

/** A queue that has run out one sample into its fourth block. */
function underrun() {
  const queue = new ChunkQueue(RATE);
  queue.push(chunk(0, 3 * BLOCK + 1));
  for (let i = 0; i < 4; i++) fill(queue);
  return queue;
}

test("nothing is played before the target is held", () => {
  const queue = new ChunkQueue(RATE);
  queue.push(chunk(0, 299));
  assert.deepEqual(fill(queue).out, new Float32Array(BLOCK));
  assert.equal(queue.isPlaying, false);
  queue.push(chunk(299, 1));
  const { out, state } = fill(queue);
  assert.deepEqual(out, samples(0, BLOCK));
  assert.deepEqual(state, { played: BLOCK, held: 300 - BLOCK, isPlaying: true, underruns: 0, audible: [] });
});

test("samples are played in order across chunks of any length", () => {
  const queue = new ChunkQueue(RATE);
  let first = 0;
  for (const count of [1, 7, 200, 128, 300]) {
    queue.push(chunk(first, count));
    first += count;
  }
  const played = [0, 1, 2, 3].flatMap(() => [...fill(queue).out]);
  assert.deepEqual(played, [...samples(0, 4 * BLOCK)]);
  assert.equal(queue.held, first - 4 * BLOCK);
});

test("played counts from the number of the first sample, also where blocks passed before it came", () => {
  const queue = new ChunkQueue(RATE);
  for (let i = 0; i < 40; i++) assert.ok((fill(queue).state?.played ?? null) === null);
  queue.push(chunk(5000, 300));
  assert.equal(fill(queue).state.played, 5000 + BLOCK);
});

test("an underrun is counted once and fades the last sample out", () => {
  const queue = underrun();
  const { out } = fill(queue);
  assert.equal(queue.underruns, 1);
  assert.equal(queue.isPlaying, false);
  assert.equal(queue.played, 3 * BLOCK + 1);
  const all = [3 * BLOCK * 0.97 ** (BLOCK - 1), ...out]; // the rest of the fourth block faded, and this one goes on
  for (let i = 1; i < all.length; i++) assert.ok(Math.abs(all[i] / all[i - 1] - 0.97) < 1e-5, `sample ${i}`);
});

test("after an underrun it waits for the new target and fades in over 256 samples", () => {
  const queue = underrun();
  queue.push(chunk(385, 300, { target: 0.4 }));
  assert.equal(fill(queue).state, null);
  queue.push({ ...chunk(685, 100, { target: 0.4 }), audio: new Float32Array(100).fill(1) });
  queue.chunks[0].fill(1);
  const rise = [fill(queue).out, fill(queue).out, fill(queue).out].flatMap((out) => [...out]);
  assert.deepEqual(rise.slice(0, 256), Array.from({ length: 256 }, (_, i) => (i + 1) / 256));
  assert.deepEqual(rise.slice(256), new Array(128).fill(1));
});

test("a take is faded in where it is joined midway, and not where it begins", () => {
  for (const [first, expected] of [[0, 1], [5000, 1 / 256]]) {
    const queue = new ChunkQueue(RATE);
    queue.push({ ...chunk(first, 300), audio: new Float32Array(300).fill(1) });
    assert.equal(fill(queue).out[0], expected);
  }
});

test("a change is reported once, in the block that plays its first sample", () => {
  const queue = new ChunkQueue(RATE);
  queue.push(chunk(0, 600, { mark: { change: 7, at: 2 * BLOCK } }));
  const reported = [0, 1, 2, 3].map(() => fill(queue).state?.audible ?? []);
  assert.deepEqual(reported, [[], [], [7], []]);
});

test("while nothing happens a state is reported every 16 blocks", () => {
  const queue = new ChunkQueue(RATE);
  queue.push(chunk(0, 40 * BLOCK));
  const reports = Array.from({ length: 40 }, (_, i) => (fill(queue).state ? i : -1)).filter((i) => i >= 0);
  assert.deepEqual(reports, [0, 16, 32]);
});

test("the text for the audio thread needs nothing else", () => {
  const registered = {};
  class AudioWorkletProcessor {
    sent = [];
    port = { postMessage: (message) => this.sent.push(message) };
  }
  const registerProcessor = (name, processor) => (registered[name] = processor);
  vm.runInNewContext(workletSource(), { AudioWorkletProcessor, registerProcessor, sampleRate: RATE });
  const processor = new registered["dacformer-player"]();
  processor.port.onmessage({ data: chunk(0, 300) });
  const out = new Float32Array(BLOCK);
  assert.equal(processor.process([], [[out]]), true);
  assert.deepEqual(out, samples(0, BLOCK));
  assert.equal(processor.sent[0].played, BLOCK);
});
