// @ts-check
/** The picture of what plays: a spectrogram and a level meter. */

import { FFT_SIZE } from "./audio.js";
import { element } from "./controls.js";

const PIXELS_PER_SECOND = 60;
const LOWEST_HZ = 40;
const METER_DB = -60;

// Black, violet, red, yellow, white: as the spectrograms of Python's side.
const STOPS = [[0, 0, 4], [60, 15, 110], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
const COLOURS = Uint32Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (STOPS.length - 1);
  const below = Math.min(Math.floor(at), STOPS.length - 2);
  const [red, green, blue] = STOPS[below].map((each, c) => each + (STOPS[below + 1][c] - each) * (at - below));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0; // as it lies in the memory of a picture
});

/**
 * Makes a spectrogram that runs to the left, and a level meter beside it.
 *
 * @param {import("./audio.js").Sound} sound
 * @param {number} rate in Hz
 */
export function scope(sound, rate) {
  const canvas = element("canvas", "spectrogram", { width: 900, height: 120 });
  const fill = element("div", "fill");
  const meter = element("div", "meter", { title: "level, peak" }, fill);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const column = pen.createImageData(1, canvas.height);
  const pixels = new Uint32Array(column.data.buffer);
  const bins = new Uint8Array(FFT_SIZE / 2);
  const samples = new Float32Array(FFT_SIZE / 2);
  // The bins of each row, from the lowest row up, equal in height on a logarithmic axis.
  const edges = Array.from({ length: canvas.height + 1 }, (_, row) => {
    const hertz = LOWEST_HZ * (rate / 2 / LOWEST_HZ) ** (row / canvas.height);
    return Math.min(bins.length - 1, Math.floor((hertz * FFT_SIZE) / rate));
  });
  let before = 0;
  let peak = METER_DB;
  pen.fillRect(0, 0, canvas.width, canvas.height);

  const draw = (now) => {
    const steps = Math.min(Math.floor(((now - before) * PIXELS_PER_SECOND) / 1000), canvas.width);
    if (steps < 2) return; // thirty pictures a second are enough
    before += (steps * 1000) / PIXELS_PER_SECOND;
    sound.analyser.getByteFrequencyData(bins);
    sound.analyser.getFloatTimeDomainData(samples);
    for (let row = 0; row < canvas.height; row++) {
      let loudest = bins[edges[row]];
      for (let bin = edges[row] + 1; bin < edges[row + 1]; bin++) loudest = Math.max(loudest, bins[bin]);
      pixels[canvas.height - 1 - row] = COLOURS[loudest];
    }
    pen.drawImage(canvas, -steps, 0);
    for (let x = 1; x <= steps; x++) pen.putImageData(column, canvas.width - x, 0);
    const loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1e-6);
    peak = Math.max(20 * Math.log10(loudest), peak - steps / 2);
    fill.style.height = `${100 * Math.min(1, Math.max(0, 1 - peak / METER_DB))}%`;
  };
  const start = () => (before = performance.now());
  const rest = () => (fill.style.height = "0");
  return { draw, start, rest, row: element("div", "scope", {}, canvas, meter) };
}
