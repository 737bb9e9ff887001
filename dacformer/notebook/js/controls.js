// @ts-check
/**
 * Sliders for classes, parameters, sampling and level. They read and move a store, whatever that is connected to.
 *
 * @typedef {{
 *   get: (name: string) => any, set: (name: string, value: any) => void, move: (name: string, value: any) => void
 * }} Store
 *   `move` is for what steers the sound: its change is counted, so that its delay can be measured. The names are those of
 *   `PlayerWidget`: info, weights, parameters, unset, active, temperature, guidance, level_db.
 */

import { QUIETEST_DB } from "./audio.js";

/**
 * @param {string} tag
 * @param {string} className
 * @param {Record<string, any>} [properties]
 * @param {(Node | string)[]} children
 * @returns {any} the element
 */
export function element(tag, className, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), { className, ...properties });
  made.append(...children);
  return made;
}

const shown = (value) => String(Number(value.toPrecision(3)));

/**
 * Makes a slider with its name and value.
 *
 * @param {{
 *   name: string, low: number, high: number, step?: number, format?: (value: number) => string,
 *   onInput: (value: number) => void, extra?: HTMLElement
 * }} options `extra` is what stands behind the value
 */
export function slider({ name, low, high, step, format = shown, onInput, extra }) {
  const value = element("output", "value");
  const input = element("input", "slider", {
    type: "range", min: low, max: high, step: step ?? ((high - low) / 200 || 1), ariaLabel: name,
  });
  const label = element("span", "name", { title: name }, name);
  const row = element("div", "row", {}, label, input, value, extra || element("span", ""));
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

export function box(title, rows, className = "") {
  return element("div", `box ${className}`, {}, element("div", "title", {}, title), element("div", "rows", {}, ...rows));
}

/**
 * Makes a slider for the weight of each class; a click on a name takes that class alone.
 *
 * @param {Store} store
 */
export function classSliders(store) {
  const one = (name) => {
    const weigh = (weights) => store.move("weights", weights);
    const made = slider({
      name, low: 0, high: 1, step: 0.01, onInput: (value) => weigh({ ...store.get("weights"), [name]: value }),
    });
    made.label.classList.add("choice");
    made.label.title = `${name}: click for this class alone`;
    made.label.addEventListener("click", () => {
      weigh(Object.fromEntries(store.get("info").classes.map((each) => [each, Number(each === name)])));
    });
    return [name, made];
  };
  const sliders = new Map(store.get("info").classes.map(one));
  const draw = () => sliders.forEach((each, name) => each.set(store.get("weights")[name]));
  return { draw, box: box("Classes", [...sliders.values()].map(({ row }) => row), "classes") };
}

/**
 * Makes a slider for each parameter, in its own units, and a box that leaves it unset.
 *
 * @param {Store} store
 */
export function parameterSliders(store) {
  const sliders = new Map();
  for (const [name, [low, high]] of Object.entries(store.get("info").ranges)) {
    const open = element("input", "", { type: "checkbox" });
    open.addEventListener("change", () => {
      const others = store.get("unset").filter((each) => each !== name);
      store.move("unset", open.checked ? [...others, name] : others);
    });
    const made = slider({
      name, low, high, onInput: (value) => store.move("parameters", { ...store.get("parameters"), [name]: value }),
      extra: element("label", "open", { title: "leave it to the model" }, open, "open"),
    });
    made.label.title = `${name}: ${shown(low)} to ${shown(high)}`;
    sliders.set(name, { ...made, open });
  }
  const none = element("div", "none", {}, "The classes at hand have no parameters.");
  const whole = box("Parameters", [...[...sliders.values()].map(({ row }) => row), none], "parameters");
  whole.hidden = !sliders.size;
  const draw = () => {
    const active = new Set(store.get("active"));
    none.hidden = active.size > 0;
    sliders.forEach(({ row, input, open, set }, name) => {
      row.hidden = !active.has(name);
      set(store.get("parameters")[name]);
      open.checked = input.disabled = store.get("unset").includes(name);
    });
  };
  return { draw, box: whole };
}

/**
 * Makes sliders for temperature, guidance and level.
 *
 * @param {Store} store
 */
export function otherSliders(store) {
  const [temperature, guidance] = ["temperature", "guidance"].map((name) => store.get(name));
  const decibel = (value) => (value > QUIETEST_DB ? `${shown(value)} dB` : "off");
  const sliders = {
    temperature: slider({
      name: "temperature", low: 0, high: Math.max(2, temperature), step: 0.01,
      onInput: (value) => store.move("temperature", value),
    }),
    guidance: slider({
      name: "guidance", low: 0, high: Math.max(5, guidance), step: 0.05,
      onInput: (value) => store.move("guidance", value),
    }),
    level_db: slider({
      name: "level", low: QUIETEST_DB, high: 6, step: 0.5, format: decibel,
      onInput: (value) => store.set("level_db", value),
    }),
  };
  const draw = () => Object.entries(sliders).forEach(([name, each]) => each.set(store.get(name)));
  return { draw, box: box("Sampling and level", Object.values(sliders).map(({ row }) => row), "others") };
}
