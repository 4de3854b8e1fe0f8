"use strict";
// The replay: one time for the face and all curves.

const byId = (id) => document.getElementById(id);
const NUM_STRONGEST = 8;

/** A typed array: base64 of deflated bytes, with a factor where it was quantised. */
async function unpack({ type, data, factor }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const inflated = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  const array = new { f4: Float32Array, f8: Float64Array, i2: Int16Array, i1: Int8Array, u1: Uint8Array, u4: Uint32Array }[type](inflated);
  return factor === undefined ? array : Float32Array.from(array, (value) => value * factor);
}
async function unpackAll(packed) {
  const entries = Object.entries(packed).map(async ([key, value]) => [key, value && value.data !== undefined ? await unpack(value) : value]);
  return Object.fromEntries(await Promise.all(entries));
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** The colours of forces beneath the face. */
function drawRamp(ramp) {
  const context = byId("ramp").getContext("2d"), image = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) image.data.set([...ramp.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

/** Runs [first, after) of frames where a test holds. */
function runs(count, test) {
  const found = [];
  for (let t = 0, start = -1; t <= count; t++) {
    const holds = t < count && test(t);
    if (holds && start < 0) start = t;
    if (!holds && start >= 0) { found.push([start, t]); start = -1; }
  }
  return found;
}

/** One strip of a chart: frames to the right, values from low to high upwards; every frame is one unit wide. */
class Strip {
  constructor(count, low, high, valid, about) {
    Object.assign(this, { count, low, high, valid });
    this.svg = shape("svg", { viewBox: `0 0 ${count} 100`, preserveAspectRatio: "none", role: "img", "aria-label": about });
    for (const [start, after] of runs(count, (t) => !valid[t])) this.box(start, after, 0, 100, "gap");
  }
  y(value) { return 96 - (92 * (value - this.low)) / (this.high - this.low); }
  box(start, after, top, height, className) {
    this.svg.append(shape("rect", { x: start, y: top, width: after - start, height, class: className }));
  }
  rule(value, className) {
    this.svg.append(shape("line", { x1: 0, x2: this.count, y1: this.y(value), y2: this.y(value), class: className }));
  }
  /** low, high: of a frame, above 0. */
  band(low, high, className) {
    for (const [start, after] of runs(this.count, (t) => this.valid[t])) {
      const edge = (value, t) => `${t + 0.5} ${this.y(value(t)).toFixed(2)}`;
      const frames = Array.from({ length: after - start }, (_, i) => start + i);
      const path = [...frames.map((t) => edge(high, t)), ...frames.reverse().map((t) => edge(low, t))];
      this.svg.append(shape("path", { d: `M${path.join("L")}Z`, class: `${className} area` }));
    }
  }
  /** value: of a frame; null where there is none. */
  curve(value, className, filled) {
    for (const [start, after] of runs(this.count, (t) => this.valid[t] && value(t) !== null)) {
      let path = "";
      for (let t = start; t < after; t++) path += `${path ? "L" : "M"}${t + 0.5} ${this.y(value(t)).toFixed(2)}`;
      if (after === start + 1) path += "h0.01";
      if (filled) this.svg.append(shape("path", { d: `${path}V${this.y(0)}H${start + 0.5}Z`, class: `${className} area` }));
      this.svg.append(shape("path", { d: path, class: className }));
    }
  }
}

class Player {
  constructor(data) {
    this.data = data;
    this.frame = 0;
    this.rows = [];
    this.slider = byId("time");
    try {
      this.face = new Face(byId("face"), data.ramp, data.inside);
    } catch {
      byId("no-webgl").hidden = false;
      byId("face").hidden = true;
    }
    this.slider.addEventListener("input", () => { this.stop(); this.show(Number(this.slider.value)); });
    byId("play").addEventListener("click", () => (this.playing ? this.stop() : this.play()));
    byId("front").addEventListener("click", () => this.face?.turn(0, 0));
    drawRamp(data.ramp);
    byId("sequences").hidden = data.sequences.length === 1;
    data.sequences.forEach((sequence, index) => this._addChoice(sequence, index));
    this.choose(0);
  }

  _addChoice(sequence, index) {
    const label = element("label"), radio = element("input");
    Object.assign(radio, { type: "radio", name: "sequence", value: index, checked: index === 0 });
    radio.addEventListener("change", () => this.choose(index));
    label.append(radio, element("strong", "", sequence.name), element("span", "", sequence.note));
    byId("sequences").append(label);
  }

  /** Show sequence number `index` from its most expressive frame. */
  choose(index) {
    this.stop();
    const s = (this.sequence = this.data.sequences[index]);
    this.face?.setScene(this.data.scenes[s.scene]);
    this.slider.max = s.timestamp.length - 1;
    byId("force-scale").hidden = !s.forces;
    byId("ramp-unit").textContent = s.vertex_force_unit;
    byId("ramp-top").textContent = short(s.peak);
    this._charts();
    this.show(s.start);
  }

  show(frame) {
    const s = this.sequence;
    this.frame = frame;
    this.slider.value = frame;
    const time = `${s.timestamp[frame].toFixed(2)} s`;
    byId("clock").textContent = time;
    this.slider.setAttribute("aria-valuetext", time);
    byId("frame-note").textContent = `frame ${frame + 1} of ${s.timestamp.length}${s.valid[frame] ? "" : ", not measured: filled in between its neighbours"}`;
    for (const cursor of document.querySelectorAll(".cursor")) cursor.style.transform = `translateX(${(100 * (frame + 0.5)) / s.timestamp.length}%)`;
    for (const { output, text } of this.rows) output.textContent = s.valid[frame] ? text(frame) : "";
    const row = (values) => values.subarray((frame * values.length) / s.timestamp.length, ((frame + 1) * values.length) / s.timestamp.length);
    this.face?.setFrame(row(s.coefficients), s.forces && row(s.forces), s.peak);
  }

  play() {
    const s = this.sequence, last = s.timestamp.length - 1, speed = () => Number(byId("speed").value);
    if (this.frame === last) this.show(0);
    this.playing = true;
    this._label();
    let time = s.timestamp[this.frame], before;
    const step = (now) => {
      if (!this.playing) return;
      time += ((now - (before ?? now)) / 1000) * speed();
      before = now;
      let frame = this.frame;
      while (frame < last && s.timestamp[frame + 1] <= time) frame++;
      if (frame !== this.frame) this.show(frame);
      if (frame === last) this.stop(); else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
  stop() { this.playing = false; this._label(); }
  _label() {
    byId("play").textContent = this.playing ? "Pause" : "Play";
    byId("play").setAttribute("aria-pressed", String(this.playing));
  }

  _charts() {
    const s = this.sequence, count = s.timestamp.length, charts = byId("charts");
    charts.replaceChildren();
    this.rows = [];
    if (s.action_units.length) {
      const keys = [["probability", s.side_probabilities ? "either side" : "probability"]];
      if (s.side_probabilities) keys.push(["left", "left"], ["right", "right"]);
      if (s.labels) keys.push(["label-on", "labelled on"]);
      if (s.labels?.includes(-1)) keys.push(["label-unknown", "label unknown"]);
      const group = this._group("Action units", "0 to 1; dashed: on above this", keys);
      s.action_units.forEach((unit, r) => this._unit(group, unit, r));
      this._axis(group);
    }
    if (s.strength) this._muscles();
    if (s.residual) {
      const top = Math.max(...s.motion, ...s.residual) || 1;
      const group = this._group("Residual", `0 to ${short(top)} mm, root mean square over the face. Motion: from the neutral face. Residual: ${s.residual_of}`,
        [["motion", "motion"], ["residual", "residual"]]);
      const strip = new Strip(count, 0, top, s.valid, "motion and residual over time");
      strip.curve((t) => s.motion[t], "motion", true);
      strip.curve((t) => s.residual[t], "residual");
      this._row(group, "Motion, residual [mm]", "", strip, (t) => `${s.motion[t].toFixed(2)}, ${s.residual[t].toFixed(2)}`, "tall");
      this._axis(group);
    }
    if (s.quality) {
      const group = this._group("Quality", "0 to 1: how far each frame can be trusted, by the tracker’s confidence, what the forces leave unexplained, gaps and saturated channels", []);
      const strip = new Strip(count, 0, 1, s.valid, "quality over time");
      strip.curve((t) => s.quality[t], "motion", true);
      this._row(group, "Quality", "", strip, (t) => s.quality[t].toFixed(2), "tall");
      this._axis(group);
    }
    if (s.balance) {
      const group = this._group("Left against right", "(L − R) / (L + R) of all paired muscles together; 1 is only left, −1 only right", [["balance", "all paired muscles"]]);
      const strip = new Strip(count, -1, 1, s.valid, "left against right over time");
      strip.rule(0, "zero");
      const value = (t) => (Number.isFinite(s.balance[t]) ? s.balance[t] : null);
      strip.curve(value, "balance");
      this._row(group, "All pairs", "", strip, (t) => (value(t) === null ? "at rest" : signed(value(t))), "tall");
      this._axis(group);
    }
  }

  _unit(group, unit, r) {
    const s = this.sequence, count = s.timestamp.length, columns = s.action_units.length;
    const strip = new Strip(count, 0, 1, s.valid, `probability of ${unit.number} over time`);
    const value = (t) => s.probabilities[t * columns + r], label = s.labels && ((t) => s.labels[t * columns + r]);
    strip.rule(unit.threshold, "threshold");
    strip.curve(value, "probability", true);
    const side = (i) => (t) => s.side_probabilities[(t * columns + r) * 2 + i], paired = unit.paired && s.side_probabilities;
    if (paired) ["left", "right"].forEach((name, i) => strip.curve(side(i), name));
    if (label) {
      for (const [start, after] of runs(count, (t) => label(t) === 1)) strip.box(start, after, 86, 14, "label-on");
      for (const [start, after] of runs(count, (t) => label(t) === -1 && s.valid[t])) strip.box(start, after, 86, 14, "label-unknown");
    }
    this._row(group, unit.number, unit.name, strip,
      (t) => (paired ? [value, side(0), side(1)] : [value]).map((p) => p(t).toFixed(2)).join("  "), "", unit.note);
  }

  _muscles() {
    const s = this.sequence, columns = s.strength.length / s.timestamp.length, top = Math.max(...s.tops) || 1;
    const keys = [["left", "left"], ["right", "right"], ["both", "unpaired"]];
    if (s.bands) keys.push(["band", "90 % interval"]);
    const group = this._group("Muscle forces", `0 to ${short(top)}; ${s.force_unit}. Strongest first; (L − R) / (L + R) of the summed forces beneath the name`, keys);
    s.muscles.forEach((muscle, place) => {
      const strip = new Strip(s.timestamp.length, 0, top, s.valid, `force of ${muscle.name} over time`);
      const value = (side) => (t) => s.strength[t * columns + muscle.sides[side]];
      const sides = Object.keys(muscle.sides);
      const half = (side) => (t) => s.bands[t * columns + muscle.sides[side]];
      for (const side of s.bands ? sides : []) strip.band((t) => Math.max(0, value(side)(t) - half(side)(t)), (t) => value(side)(t) + half(side)(t), side);
      for (const side of sides) strip.curve(value(side), side);
      const text = (t) => sides.map((side) => value(side)(t).toFixed(2)).join("  ");
      const note = muscle.ratio_of_sums === null ? "" : `sums ${signed(muscle.ratio_of_sums)}`;
      const row = this._row(group, muscle.name, muscle.detail, strip, text, place < NUM_STRONGEST ? "" : "weaker", note);
      if (note) row.querySelector(".own-line").append(balanceBar(muscle.ratio_of_sums));
    });
    this._axis(group);
    if (s.muscles.length <= NUM_STRONGEST) return;
    const label = element("label", "more"), box = element("input");
    box.type = "checkbox";
    box.addEventListener("change", () => group.classList.toggle("all", box.checked));
    label.append(box, `all ${s.muscles.length} muscles`);
    group.append(label);
  }

  _group(title, note, keys) {
    if (this.sequence.valid.includes(0)) keys = [...keys, ["gap", "not measured"]];
    const group = element("section", "chart"), heading = element("h2", "", title), legend = element("span", "legend");
    for (const [className, text] of keys) legend.append(element("i", `key ${className}`), text);
    heading.append(legend);
    group.append(heading, element("p", "note", note));
    byId("charts").append(group);
    return group;
  }

  _row(group, name, detail, strip, text, className, note) {
    const row = element("div", `row ${className}`), words = element("div", "name"), plot = element("div", "plot"), output = element("output");
    words.append(element("b", "", name), element("small", "", detail));
    if (note) words.append(element("small", "own-line", note));
    plot.append(strip.svg, element("div", "cursor"));
    plot.addEventListener("pointerdown", (event) => { plot.setPointerCapture(event.pointerId); this._seek(plot, event); });
    plot.addEventListener("pointermove", (event) => plot.hasPointerCapture(event.pointerId) && this._seek(plot, event));
    row.append(words, plot, output);
    group.append(row);
    this.rows.push({ output, text });
    return row;
  }
  /** Seconds beneath the strips of a group. */
  _axis(group) {
    const { timestamp } = this.sequence, count = timestamp.length, row = element("div", "row axis"), plot = element("div", "plot");
    const span = timestamp[count - 1] - timestamp[0];
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300].find((each) => span / each <= 9) || 600;
    let next = Math.ceil(timestamp[0] / step) * step;
    for (let t = 0; t < count; t++) {
      if (timestamp[t] < next - 1e-6) continue;
      const tick = element("span", "", `${Number(next.toFixed(1))} s`);
      tick.style.left = `${(100 * (t + 0.5)) / count}%`;
      plot.append(tick);
      next += step;
    }
    row.append(element("div"), plot);
    group.append(row);
  }
  _seek(plot, event) {
    const { left, width } = plot.getBoundingClientRect(), count = this.sequence.timestamp.length;
    this.stop();
    this.show(Math.max(0, Math.min(count - 1, Math.floor(((event.clientX - left) / width) * count))));
  }
}

const short = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
const signed = (value) => (Math.abs(value) < 0.005 ? "" : value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** A bar from the middle, towards the side on which one sees it: the subject's left is to the right. */
function balanceBar(value) {
  const svg = shape("svg", { viewBox: "-1 0 2 1", preserveAspectRatio: "none", class: "balance-bar", "aria-hidden": "true" });
  svg.append(shape("rect", { x: Math.min(value, 0), y: 0.15, width: Math.abs(value), height: 0.7, class: value > 0 ? "left" : "right" }));
  svg.append(shape("line", { x1: 0, x2: 0, y1: 0, y2: 1 }));
  return svg;
}

(async () => {
  const player = byId("player");
  if (!player) return;
  const data = JSON.parse(byId("data").textContent);
  data.ramp = await unpack(data.ramp);
  data.scenes = await Promise.all(data.scenes.map(unpackAll));
  data.sequences = await Promise.all(data.sequences.map(unpackAll));
  window.biomechau = new Player(data);
  player.dataset.ready = "true";
})();
