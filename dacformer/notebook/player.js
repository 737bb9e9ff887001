// The page's side of the player (player.py): plays what the kernel sends, tells how much was played, shows and moves the
// controls. `Sound` is the sound, one for each widget; `render` draws it, once for each place that shows the widget.

const REPORT_MS = 200; // to the kernel; at once where something happens
const NO_ANSWER_MS = 3000;
const RAMP_SECONDS = 0.02; // of level, start and stop, so that nothing clicks
const PIXELS_PER_SECOND = 60;
const FFT_SIZE = 4096;
const LOWEST_HZ = 40;
const LOWEST_DB = -100, HIGHEST_DB = -20; // of a bin of the spectrogram
const METER_DB = -60;
const QUIETEST_DB = -40;

// Runs in the audio thread, as a module of its own: it sees nothing of this file.
function worklet() {
  const FADE = 256; // samples, after an under-run
  const REPORT_BLOCKS = 16; // of 128 samples: 46 ms

  registerProcessor("dacformer-player", class extends AudioWorkletProcessor {
    chunks = [];
    offset = 0; // into the first chunk
    held = 0; // samples that wait
    played = null; // samples since the beginning
    target = Infinity;
    runs = false;
    underruns = 0;
    marks = []; // changes of controls, and where they are first heard
    last = 0; // the latest sample: it fades where the sound runs out
    risen = FADE;
    blocks = 0;

    constructor() {
      super();
      this.port.onmessage = ({ data }) => {
        this.played ??= data.first;
        this.chunks.push(data.audio);
        this.held += data.audio.length;
        this.target = data.target * sampleRate;
        if (data.mark) this.marks.push(data.mark);
      };
    }

    process(_inputs, [[out]]) {
      const { runs } = this;
      if (!runs && this.held >= this.target) {
        this.runs = true;
        if (this.played > 0) this.risen = 0;
      }
      let i = 0;
      for (; this.runs && i < out.length; i++) {
        if (!this.held) {
          this.runs = false;
          this.underruns++;
          break;
        }
        this.last = this.chunks[0][this.offset++];
        if (this.risen < FADE) this.last *= ++this.risen / FADE;
        out[i] = this.last;
        this.held--;
        if (this.offset === this.chunks[0].length) {
          this.chunks.shift();
          this.offset = 0;
        }
      }
      this.played += i;
      for (; i < out.length; i++) out[i] = this.last *= 0.97;
      const heard = this.marks.filter(({ at }) => at < this.played).map(({ change }) => change);
      if (heard.length || runs !== this.runs || ++this.blocks % REPORT_BLOCKS === 0) {
        this.marks = this.marks.filter(({ at }) => at >= this.played);
        const { played, held, underruns } = this;
        this.port.postMessage({ played, held, runs: this.runs, underruns, heard });
      }
      return true;
    }
  });
}

// The sound through an AudioWorklet: sample by sample what the kernel sent.
class WorkletOutput {
  static async make(context, onState) {
    const url = URL.createObjectURL(new Blob([`(${worklet})()`], { type: "text/javascript" }));
    try {
      await context.audioWorklet.addModule(url);
    } finally {
      URL.revokeObjectURL(url);
    }
    return new WorkletOutput(context, onState);
  }

  constructor(context, onState) {
    this.node = new AudioWorkletNode(context, "dacformer-player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => onState(data);
  }

  push(chunk) {
    this.node.port.postMessage(chunk, [chunk.audio.buffer]);
  }

  close() {
    this.node.port.onmessage = null;
  }
}

// Where there is no AudioWorklet: buffers one after the other. The browser resamples each, if it has to.
class ScheduledOutput {
  constructor(context, onState, rate) {
    Object.assign(this, { context, onState, rate });
    this.node = new GainNode(context);
    this.waiting = [];
    this.marks = [];
    this.underruns = 0;
    this.runs = false;
    this.end = null; // samples since the beginning, of what came
    this.endTime = 0; // when that is played
    this.timer = setInterval(() => this.tell(), 50);
  }

  push(chunk) {
    this.end = (this.end ?? chunk.first) + chunk.audio.length;
    this.waiting.push(chunk.audio);
    if (chunk.mark) this.marks.push(chunk.mark);
    const held = this.waiting.reduce((sum, audio) => sum + audio.length, 0);
    this.tell();
    if (!this.runs && held < chunk.target * this.rate) return;
    if (!this.runs) this.endTime = this.context.currentTime + 0.01;
    this.runs = true;
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
    if (this.runs && this.context.currentTime > this.endTime) {
      this.runs = false;
      this.underruns++;
    }
    const waiting = this.waiting.reduce((sum, audio) => sum + audio.length, 0);
    const scheduled = this.runs ? Math.round((this.endTime - this.context.currentTime) * this.rate) : 0;
    const played = this.end - waiting - scheduled;
    const heard = this.marks.filter(({ at }) => at < played).map(({ change }) => change);
    this.marks = this.marks.filter(({ at }) => at >= played);
    this.onState({ played, held: waiting + scheduled, runs: this.runs, underruns: this.underruns, heard });
  }

  close() {
    clearInterval(this.timer);
  }
}

class Sound {
  constructor(model) {
    this.model = model;
    this.page = Math.random().toString(36).slice(2); // tells this page from others that show the same widget
    this.moved = new Map(); // when each change of controls was made
    this.state = { played: null, held: 0, runs: false, underruns: 0 };
    this.told = { underruns: 0, at: 0 };
    this.target = 0;
    this.delay = null; // seconds, the last one measured
    this.note = "";
    this.views = new Set(); // functions that draw anew
    model.on("msg:custom", (message, buffers) => this.receive(message, buffers));
    model.on("change:level_db", () => this.setLevel());
    for (const event of ["comm:close", "comm_live_update"]) model.on(event, () => this.lost());
  }

  get plays() {
    return Boolean(this.context);
  }

  say(note) {
    this.note = note;
    for (const draw of this.views) draw();
  }

  send(message) {
    try {
      this.model.send({ ...message, page: this.page });
    } catch (error) {
      this.lost();
    }
  }

  lost() {
    if (this.model.comm_live !== true) {
      this.end("The kernel was restarted or is gone: run the cell again.");
    }
  }

  // A person has moved something: the number tells the change by which the kernel's sound follows.
  move(trait, value) {
    const number = this.model.get("moves") + 1;
    this.moved.set(number, performance.now());
    this.model.set({ [trait]: value, moves: number });
    this.model.save_changes();
  }

  async play() {
    const { rate } = this.model.get("info");
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
    this.model.set("status", "");
    this.state = { played: null, held: 0, runs: false, underruns: 0 };
    this.told = { underruns: 0, at: 0 };
    this.change = this.model.get("moves");
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
    this.output = output ?? new ScheduledOutput(context, onState, rate);
    this.gain = new GainNode(context, { gain: this.level });
    this.analyser = new AnalyserNode(context, {
      fftSize: FFT_SIZE, smoothingTimeConstant: 0, minDecibels: LOWEST_DB, maxDecibels: HIGHEST_DB,
    });
    this.output.node.connect(this.gain).connect(this.analyser).connect(context.destination);
    this.answered = performance.now();
    this.timer = setInterval(() => this.watch(), REPORT_MS);
    this.unanswered = false;
    this.say(why && `Scheduled buffers instead of an AudioWorklet: ${why}.`);
    this.send({ type: "play" }); // last: where the kernel is gone, that is what is said
  }

  stop() {
    this.send({ type: "stop" });
    this.end("");
  }

  // Silence, at once; what the kernel still sends is not played.
  end(note) {
    clearInterval(this.timer);
    if (this.context) {
      const { context, gain, output } = this;
      gain?.gain.setTargetAtTime(0, context.currentTime, RAMP_SECONDS / 4);
      output?.close();
      setTimeout(() => context.close(), 1000 * RAMP_SECONDS + 100);
    }
    this.context = this.output = this.gain = this.analyser = undefined;
    this.state = { ...this.state, held: 0, runs: false };
    this.say(note);
  }

  get level() {
    const db = this.model.get("level_db");
    return db > QUIETEST_DB ? 10 ** (db / 20) : 0;
  }

  setLevel() {
    this.gain?.gain.setTargetAtTime(this.level, this.context.currentTime, RAMP_SECONDS);
  }

  receive(message, buffers) {
    if (!this.plays) return;
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

  onState({ heard, ...state }) {
    const news = state.runs !== this.state.runs || state.underruns !== this.state.underruns;
    this.state = state;
    let delay = null;
    for (const change of heard) {
      const outside = (this.context?.outputLatency ?? 0) * 1000; // on its way to the ear
      delay = this.delay = (performance.now() - this.moved.get(change) + outside) / 1000;
      for (const number of this.moved.keys()) if (number <= change) this.moved.delete(number);
    }
    if (news || delay) this.report(delay);
  }

  report(delay) {
    const { played, runs, underruns } = this.state;
    if (played === null) return this.send({ type: "report", played: null, runs: false, underruns: 0, delay });
    this.send({ type: "report", played, runs, underruns: underruns - this.told.underruns, delay });
    this.told = { underruns, at: performance.now() };
  }

  watch() {
    const silent = performance.now() - this.answered > NO_ANSWER_MS && !this.state.runs;
    this.unanswered ||= silent;
    if (silent) this.say("The kernel does not answer. It is busy, or was restarted: then run the cell again.");
    if (performance.now() - this.told.at > REPORT_MS / 2) this.report(null);
  }
}

// --- what is seen

function element(tag, className, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), { className, ...properties });
  made.append(...children);
  return made;
}

const shown = (value) => String(Number(value.toPrecision(3)));

// A slider with its name and value; `title` is the tooltip of the name, and `extra` what stands behind the value.
function slider({ name, low, high, step, format = shown, onInput, extra }) {
  const value = element("output", "value");
  const input = element("input", "slider", {
    type: "range", min: low, max: high, step: step ?? ((high - low) / 200 || 1), ariaLabel: name,
  });
  const label = element("span", "name", { title: name }, name);
  const row = element("div", "row", {}, label, input, value, extra || element("span"));
  input.addEventListener("input", () => {
    value.textContent = format(input.valueAsNumber);
    onInput(input.valueAsNumber);
  });
  const set = (number) => {
    if (input.valueAsNumber !== number) input.value = number;
    value.textContent = format(number);
  };
  return { row, label, input, set };
}

function box(title, rows, className = "") {
  return element("div", `box ${className}`, {}, element("div", "title", {}, title), element("div", "rows", {}, ...rows));
}

function classSliders(model, sound) {
  const one = (name) => {
    const weigh = (weights) => sound.move("weights", weights);
    const made = slider({
      name, low: 0, high: 1, step: 0.01, onInput: (value) => weigh({ ...model.get("weights"), [name]: value }),
    });
    made.label.classList.add("choice");
    made.label.title = `${name}: click for this class alone`;
    made.label.addEventListener("click", () => {
      weigh(Object.fromEntries(model.get("info").classes.map((each) => [each, Number(each === name)])));
    });
    return [name, made];
  };
  const sliders = new Map(model.get("info").classes.map(one));
  const draw = () => sliders.forEach((each, name) => each.set(model.get("weights")[name]));
  return { draw, box: box("Classes", [...sliders.values()].map(({ row }) => row), "classes") };
}

function parameterSliders(model, sound) {
  const sliders = new Map();
  for (const [name, [low, high]] of Object.entries(model.get("info").ranges)) {
    const open = element("input", "", { type: "checkbox" });
    open.addEventListener("change", () => {
      const others = model.get("unset").filter((each) => each !== name);
      sound.move("unset", open.checked ? [...others, name] : others);
    });
    const made = slider({
      name, low, high, onInput: (value) => sound.move("parameters", { ...model.get("parameters"), [name]: value }),
      extra: element("label", "open", { title: "leave it to the model" }, open, "open"),
    });
    made.label.title = `${name}: ${shown(low)} to ${shown(high)}`;
    sliders.set(name, { ...made, open });
  }
  const none = element("div", "none", {}, "The classes at hand have no parameters.");
  const whole = box("Parameters", [...[...sliders.values()].map(({ row }) => row), none], "parameters");
  whole.hidden = !sliders.size;
  const draw = () => {
    const active = new Set(model.get("active"));
    none.hidden = active.size > 0;
    sliders.forEach(({ row, input, open, set }, name) => {
      row.hidden = !active.has(name);
      set(model.get("parameters")[name]);
      open.checked = input.disabled = model.get("unset").includes(name);
    });
  };
  return { draw, box: whole };
}

function otherSliders(model, sound) {
  const [temperature, guidance] = ["temperature", "guidance"].map((name) => model.get(name));
  const decibel = (value) => (value > QUIETEST_DB ? `${shown(value)} dB` : "off");
  const sliders = {
    temperature: slider({
      name: "temperature", low: 0, high: Math.max(2, temperature), step: 0.01,
      onInput: (value) => sound.move("temperature", value),
    }),
    guidance: slider({
      name: "guidance", low: 0, high: Math.max(5, guidance), step: 0.05,
      onInput: (value) => sound.move("guidance", value),
    }),
    level_db: slider({
      name: "level", low: QUIETEST_DB, high: 6, step: 0.5, format: decibel,
      onInput: (value) => {
        model.set("level_db", value);
        model.save_changes();
      },
    }),
  };
  const draw = () => Object.entries(sliders).forEach(([name, each]) => each.set(model.get(name)));
  return { draw, box: box("Sampling and level", Object.values(sliders).map(({ row }) => row), "others") };
}

// Black, violet, red, yellow, white: as the spectrograms of Python's side.
const STOPS = [[0, 0, 4], [60, 15, 110], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
const COLOURS = Uint32Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (STOPS.length - 1);
  const below = Math.min(Math.floor(at), STOPS.length - 2);
  const [red, green, blue] = STOPS[below].map((each, c) => each + (STOPS[below + 1][c] - each) * (at - below));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0; // as it lies in the memory of a picture
});

// A spectrogram that runs to the left, and a level meter beside it.
function scope(sound, rate) {
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

function render({ model, el }, sound) {
  const root = element("div", "dacformer-player");
  root.sound = sound;
  const button = element("button", "play", { type: "button" });
  button.addEventListener("click", () => (sound.plays ? sound.stop() : sound.play()));
  const seed = element("input", "seed", { type: "number", min: 0, step: 1 });
  seed.addEventListener("change", () => {
    model.set("seed", Math.max(0, Math.floor(seed.valueAsNumber || 0)));
    model.save_changes();
  });
  const seconds = element("span", "seconds", { title: "played" });
  const fill = element("div", "fill");
  const goal = element("div", "goal");
  const gauge = element("div", "gauge", { title: "sound that waits to be played; the line is what is aimed at" }, fill, goal);
  const buffer = element("span", "number");
  const underruns = element("span", "number");
  const delay = element("span", "number");
  const figures = element(
    "div", "figures", {},
    element("span", "figure", {}, "buffer", gauge, buffer),
    element("span", "figure", { title: "how often the sound ran out" }, "under-runs", underruns),
    element("span", "figure", { title: "from moving a control to hearing it" }, "control to sound", delay),
  );
  const head = element(
    "div", "head", {}, button, seconds, element("label", "seed-label", { title: "of the next take" }, "seed", seed), figures,
  );
  const status = element("div", "status", { role: "status" });
  const picture = scope(sound, model.get("info").rate);
  const groups = [classSliders(model, sound), parameterSliders(model, sound), otherSliders(model, sound)];
  const columns = element("div", "columns", {}, ...groups.map((group) => group.box));
  root.append(head, status, picture.row, columns);
  // Else JupyterLab takes the arrow keys away from the sliders.
  for (const each of root.querySelectorAll("input, button")) each.dataset.lmSuppressShortcuts = "true";
  el.append(root);

  const drawFigures = () => {
    const { rate } = model.get("info");
    const { played, held } = sound.state;
    const milliseconds = (value) => `${Math.round(1000 * value)} ms`;
    seconds.textContent = `${((played ?? 0) / rate).toFixed(1)} s`;
    const scale = Math.max(0.25, 2 * sound.target);
    fill.style.width = `${Math.min(100, (100 * held) / rate / scale)}%`;
    goal.hidden = !sound.target;
    goal.style.left = `${(100 * sound.target) / scale}%`;
    buffer.textContent = sound.target ? `${milliseconds(held / rate)} of ${milliseconds(sound.target)}` : "–";
    underruns.textContent = sound.state.underruns;
    delay.textContent = sound.delay === null ? "move one" : milliseconds(sound.delay);
  };
  let frame;
  const run = (now) => {
    frame = undefined;
    drawFigures();
    if (!sound.analyser) return picture.rest();
    picture.draw(now);
    frame = requestAnimationFrame(run);
  };
  const draw = () => {
    button.textContent = sound.plays ? "■ Stop" : "▶ Play";
    button.classList.toggle("plays", sound.plays);
    status.textContent = sound.note || model.get("status");
    seed.value = model.get("seed");
    drawFigures();
    if (sound.analyser && frame === undefined) {
      picture.start();
      frame = requestAnimationFrame(run);
    }
  };
  const drawControls = () => groups.forEach((group) => group.draw());
  for (const name of ["weights", "parameters", "unset", "active", "temperature", "guidance", "level_db"]) {
    model.on(`change:${name}`, drawControls);
  }
  for (const name of ["status", "seed"]) model.on(`change:${name}`, draw);
  sound.views.add(draw);
  draw();
  drawControls();
  return () => {
    sound.views.delete(draw);
    cancelAnimationFrame(frame);
    // A moment later, as a place that shows it may only be moved.
    setTimeout(() => sound.views.size || !sound.plays || sound.stop(), 500);
  };
}

export default () => {
  let sound;
  return {
    initialize: ({ model }) => {
      sound = new Sound(model);
      return () => sound.plays && sound.stop();
    },
    render: ({ model, el }) => render({ model, el }, sound),
  };
};
