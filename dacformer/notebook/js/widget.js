// @ts-check
/**
 * The page's side of the player in a notebook (player.py). `Connection` joins the sound to the kernel, once for each
 * widget; `render` draws it, once for each place that shows the widget.
 */

import { Sound } from "./audio.js";
import { classSliders, element, otherSliders, parameterSliders } from "./controls.js";
import { scope } from "./scope.js";

const GRACE_MS = 500; // a place that shows the widget may only be moved
const NO_ANSWER = "The kernel does not answer. It is busy, or was restarted: then run the cell again.";

/** A widget's model in this page, with its sound: a store for the controls, and the way of messages. */
class Connection {
  constructor(model) {
    this.model = model;
    const { rate } = model.get("info");
    const send = (message) => this.send(message);
    this.sound = new Sound({ rate, levelDb: model.get("level_db"), send, noAnswer: NO_ANSWER });
    model.on("msg:custom", (message, buffers) => this.sound.receive(message, buffers));
    model.on("change:level_db", () => this.sound.setLevel(model.get("level_db")));
    for (const event of ["comm:close", "comm_live_update"]) model.on(event, () => this.checkKernel());
  }

  get(name) {
    return this.model.get(name);
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  // A person has moved something: the number tells the change that the kernel's sound follows.
  move(name, value) {
    const number = this.model.get("moves") + 1;
    this.sound.noteMove(number);
    this.model.set({ [name]: value, moves: number });
    this.model.save_changes();
  }

  send(message) {
    try {
      this.model.send(message);
    } catch (error) {
      this.checkKernel();
    }
  }

  checkKernel() {
    if (this.model.comm_live !== true) {
      this.sound.end("The kernel was restarted or is gone: run the cell again.");
    }
  }

  toggle() {
    if (this.sound.isStarted) return this.sound.stop();
    this.sound.play(this.model.get("moves"));
    this.model.set("status", "");
  }

  stop() {
    if (this.sound.isStarted) this.sound.stop();
  }
}

const milliseconds = (value) => `${Math.round(1000 * value)} ms`;

// Buffer, underruns and delay, as numbers; the buffer also as a gauge.
function figures(sound) {
  const fill = element("div", "fill");
  const goal = element("div", "goal");
  const gauge = element("div", "gauge", { title: "sound that waits to be played; the line is what is aimed at" }, fill, goal);
  const buffer = element("span", "number");
  const underruns = element("span", "number");
  const delay = element("span", "number");
  const row = element(
    "div", "figures", {},
    element("span", "figure", {}, "buffer", gauge, buffer),
    element("span", "figure", { title: "how often the sound ran out" }, "under-runs", underruns),
    element("span", "figure", { title: "from moving a control to hearing it" }, "control to sound", delay),
  );
  const draw = () => {
    const seconds = sound.state.held / sound.rate;
    const scale = Math.max(0.25, 2 * sound.target);
    fill.style.width = `${Math.min(100, (100 * seconds) / scale)}%`;
    goal.hidden = !sound.target;
    goal.style.left = `${(100 * sound.target) / scale}%`;
    buffer.textContent = sound.target ? `${milliseconds(seconds)} of ${milliseconds(sound.target)}` : "–";
    underruns.textContent = sound.state.underruns;
    delay.textContent = sound.delay === null ? "move one" : milliseconds(sound.delay);
  };
  return { draw, row };
}

// Button, seconds played, seed and figures.
function header(connection) {
  const { sound } = connection;
  const button = element("button", "play", { type: "button" });
  button.addEventListener("click", () => connection.toggle());
  const seed = element("input", "seed", { type: "number", min: 0, step: 1 });
  seed.addEventListener("change", () => {
    connection.set("seed", Math.max(0, Math.floor(seed.valueAsNumber || 0)));
  });
  const seconds = element("span", "seconds", { title: "played" });
  const numbers = figures(sound);
  const row = element(
    "div", "head", {}, button, seconds, element("label", "seed-label", { title: "of the next take" }, "seed", seed),
    numbers.row,
  );
  const drawFigures = () => {
    seconds.textContent = `${((sound.state.played ?? 0) / sound.rate).toFixed(1)} s`;
    numbers.draw();
  };
  const draw = () => {
    button.textContent = sound.isStarted ? "■ Stop" : "▶ Play";
    button.classList.toggle("plays", sound.isStarted);
    seed.value = connection.get("seed");
    drawFigures();
  };
  return { draw, drawFigures, row };
}

function build(connection, picture, head, groups) {
  const status = element("div", "status", { role: "status" });
  const columns = element("div", "columns", {}, ...groups.map((group) => group.box));
  const root = element("div", "dacformer-player", {}, head.row, status, picture.row, columns);
  root.sound = connection.sound;
  // Else JupyterLab takes the arrow keys away from the sliders.
  for (const each of root.querySelectorAll("input, button")) each.dataset.lmSuppressShortcuts = "true";
  return { root, status };
}

function render({ model, el }, connection) {
  const { sound } = connection;
  const picture = scope(sound, sound.rate);
  const head = header(connection);
  const groups = [classSliders(connection), parameterSliders(connection), otherSliders(connection)];
  const { root, status } = build(connection, picture, head, groups);
  el.append(root);

  let frame;
  const run = (now) => {
    frame = undefined;
    head.drawFigures();
    if (!sound.analyser) return picture.rest();
    picture.draw(now);
    frame = requestAnimationFrame(run);
  };
  const draw = () => {
    head.draw();
    status.textContent = sound.note || model.get("status");
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
    setTimeout(() => sound.views.size || connection.stop(), GRACE_MS);
  };
}

export default () => {
  let connection;
  return {
    initialize: ({ model }) => {
      connection = new Connection(model);
      return () => connection.stop();
    },
    render: ({ model, el }) => render({ model, el }, connection),
  };
};
