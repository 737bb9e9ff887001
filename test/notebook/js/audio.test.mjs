// The messages of a page's sound: what it reports, whose chunks it takes, and how long a control took.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Sound } from "../../../dacformer/notebook/js/audio.js";

const state = (more) => ({ played: 100, held: 50, isPlaying: true, underruns: 0, audible: [], ...more });

function started() {
  const sent = [];
  const sound = new Sound({ rate: 1000, levelDb: 0, send: (message) => sent.push(message), noAnswer: "no answer" });
  const pushed = [];
  sound.context = { close: () => {} }; // as after `play`, which needs a browser
  sound.output = { push: (each) => pushed.push(each), close: () => {} };
  return { sound, sent, pushed };
}

test("a report tells of new underruns only, at once where something happens", () => {
  const { sound, sent } = started();
  sound.onState(state({}));
  sound.onState(state({ played: 200 }));
  sound.onState(state({ played: 300, isPlaying: false, underruns: 2 }));
  sound.onState(state({ played: 300, underruns: 2 }));
  const expected = [[100, true, 0], [300, false, 2], [300, true, 0]];
  assert.deepEqual(sent.map(({ played, is_playing, underruns }) => [played, is_playing, underruns]), expected);
  assert.ok(sent.every(({ type, page }) => type === "report" && page === sound.page));
});

test("before the first sample nothing is reported", () => {
  const { sound, sent } = started();
  sound.answered = performance.now();
  sound.watch();
  assert.deepEqual(sent, []);
});

test("the delay of a change is measured and reported when it is audible, and older moves are forgotten", async () => {
  const { sound, sent } = started();
  sound.noteMove(1);
  sound.noteMove(2);
  await new Promise((resolve) => setTimeout(resolve, 20));
  sound.noteMove(3);
  sound.onState(state({}));
  sound.onState(state({ audible: [2] }));
  assert.ok(sound.delay >= 0.019 && sound.delay < 5);
  assert.equal(sent.at(-1).delay, sound.delay);
  assert.deepEqual([...sound.moved.keys()], [3]);
});

test("a chunk becomes samples, and a mark where its change is new", () => {
  const { sound, pushed } = started();
  const bytes = new Uint8Array(20);
  new Float32Array(bytes.buffer, 4, 2).set([0.25, -1]);
  const message = { type: "chunk", page: sound.page, first: 7, target: 0.1, change: 1, effective_from: 9 };
  const view = new DataView(bytes.buffer, 4, 8);
  sound.receive(message, [view]);
  sound.receive({ ...message, first: 9 }, [view]);
  assert.deepEqual([...pushed[0].audio], [0.25, -1]);
  assert.deepEqual(pushed.map(({ mark }) => mark), [{ change: 1, at: 9 }, false]);
  assert.deepEqual([sound.target, pushed[1].first], [0.1, 9]);
});

test("a chunk for another page ends this one", () => {
  const { sound, pushed } = started();
  sound.receive({ type: "chunk", page: "another" }, []);
  assert.equal(sound.isStarted, false);
  assert.equal(sound.note, "It plays in another tab now.");
  assert.deepEqual(pushed, []);
});

test("a sender that is silent for three seconds is noticed, and its next chunk takes the note away", () => {
  const { sound } = started();
  sound.answered = performance.now() - 3100;
  sound.watch();
  assert.equal(sound.note, "no answer");
  const message = { type: "chunk", page: sound.page, first: 0, target: 0.1, change: 0, effective_from: 0 };
  sound.receive(message, [new DataView(new ArrayBuffer(4))]);
  assert.equal(sound.note, "");
});

test("the level is a factor, and zero at the slider's end", () => {
  const { sound } = started();
  sound.levelDb = 6;
  assert.ok(Math.abs(sound.level - 1.9953) < 1e-4);
  sound.levelDb = -40;
  assert.equal(sound.level, 0);
});
