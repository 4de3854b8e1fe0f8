"use strict";
// Live: the face now and the curves of the last seconds, from the messages of a WebSocket.

const SECONDS = 10;  // from the left to the right edge of a strip
const AHEAD = 0.3;  // what is wiped in front of the newest value [s]

/** A strip that is written from left to right, and from the left again when it is full; each value costs the same. */
class Sweep {
  constructor(canvas, sides) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.sides = sides;
    this.last = null;
    new ResizeObserver(() => this.clear()).observe(canvas);
  }
  /** Begin with an empty strip of its size on the screen. */
  clear() {
    const pixels = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * pixels);
    this.canvas.height = Math.round(this.canvas.clientHeight * pixels);
    const style = getComputedStyle(document.documentElement);
    this.colours = this.sides.map((side) => style.getPropertyValue(`--${side}`));
    this.pixels = pixels;
    this.last = null;
  }
  /** values: one a side, null without a face; top: the value at the upper edge. */
  add(time, values, top) {
    const { context, canvas, last } = this, per = canvas.width / SECONDS;
    const x = (time % SECONDS) * per, goesOn = last && time > last.time && time - last.time < 0.25;
    const from = goesOn && x > last.x ? last.x : x;
    context.clearRect(from + (goesOn ? 1 : 0), 0, x - from + AHEAD * per, canvas.height);
    if (x + AHEAD * per > canvas.width) context.clearRect(0, 0, x + AHEAD * per - canvas.width, canvas.height);
    const ys = values && values.map((value) => canvas.height * (0.96 - (0.92 * value) / top));
    if (ys && goesOn && last.ys && x > last.x) {
      ys.forEach((y, side) => {
        context.strokeStyle = this.colours[side];
        context.lineWidth = (this.sides[side] === "left" ? 2.6 : 1.6) * this.pixels;
        context.beginPath();
        context.moveTo(last.x, last.ys[side]);
        context.lineTo(x, y);
        context.stroke();
      });
    }
    this.last = { time, x, ys };
  }
}

class Live {
  constructor(data) {
    this.data = data;
    this.waiting = [];
    this.top = 1;
    this.shown = [];
    try {
      this.face = new Face(byId("face"), data.ramp, data.inside);
      this.face.setScene(data.scene);
      this.face.setFrame(new Float32Array(data.shapes), null, 1);
    } catch {
      byId("no-webgl").hidden = false;
      byId("face").hidden = true;
    }
    drawRamp(data.ramp);
    byId("ramp-unit").textContent = data.vertex_force_unit;
    byId("ramp-top").textContent = short(data.peak);
    byId("front").addEventListener("click", () => this.face?.turn(0, 0));
    byId("neutral").addEventListener("click", () => this.neutral());
    document.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() === "n" && !event.ctrlKey && !event.metaKey && !event.altKey) this.neutral();
    });
    this._charts();
    this._connect();
    const step = (now) => { this._show(now); requestAnimationFrame(step); };
    requestAnimationFrame(step);
  }

  neutral() { if (this.socket.readyState === WebSocket.OPEN) this.socket.send("neutral"); }

  _connect() {
    this.socket = new WebSocket(`ws://${location.host}/live`);
    this.socket.addEventListener("open", () => { this.greeted = true; this._say("waiting for a face"); });
    this.socket.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (message.note !== undefined) this._say(message.note); else this.waiting.push(message);
    });
    this.socket.addEventListener("close", () => {
      this._say("no connection to biomechau; trying again");
      setTimeout(() => this._connect(), 1000);
    });
  }
  _say(text) { byId("status").textContent = text; }

  /** What has come since the last picture: all of it in the curves, the newest in the face. */
  _show(now) {
    const came = this.waiting.splice(0);
    if (!came.length) return;
    for (const { time, forces } of came) {
      const strength = forces && this._strength(forces);
      const most = strength ? Math.max(...strength) : 0;
      if (most > this.top) {
        this.top = Math.ceil(2 * most) / 2;
        this._note();
        for (const { sweep } of this.rows) sweep.clear();
      }
      for (const { sweep, columns } of this.rows) sweep.add(time, strength && columns.map((m) => strength[m]), this.top);
    }
    const { time, coefficients, forces } = came[came.length - 1];
    if (forces && this.greeted) { this._say(""); this.greeted = false; }
    const strength = forces && this._strength(forces);
    for (const { output, columns } of this.rows)
      output.textContent = strength ? columns.map((m) => strength[m].toFixed(2)).join("  ") : "";
    if (forces) this.face?.setFrame(coefficients, forces, this.data.peak);
    else this.face?.setFrame(new Float32Array(this.data.shapes), null, 1);
    this.shown = [...this.shown.filter((each) => now - each < 1000), now];
    byId("frame-note").textContent = `${time.toFixed(1)} s, ${this.shown.length} pictures per second` +
      (forces ? `, ${Math.round(1000 * this.data.delay)} ms after the face` : ": no face");
  }

  _strength(forces) {
    if (forces.length === this.data.identifiers) return forces;
    return Array.from({ length: this.data.identifiers }, (_, m) => Math.hypot(...forces.slice(3 * m, 3 * m + 3)));
  }

  _charts() {
    const group = element("section", "chart"), heading = element("h2", "", "Muscle forces"), legend = element("span", "legend");
    for (const [side, text] of [["left", "left"], ["right", "right"], ["both", "unpaired"]])
      legend.append(element("i", `key ${side}`), text);
    heading.append(legend);
    this.note = element("p", "note");
    this._note();
    group.append(heading, this.note);
    this.rows = this.data.muscles.map(([name, sides]) => {
      const row = element("div", "row sweep"), words = element("div", "name"), plot = element("div", "plot");
      const canvas = element("canvas"), output = element("output");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `force of ${name} over time`);
      words.append(element("b", "", name));
      plot.append(canvas);
      row.append(words, plot, output);
      group.append(row);
      return { output, columns: Object.values(sides), sweep: new Sweep(canvas, Object.keys(sides)) };
    });
    byId("charts").append(group);
  }
  _note() { this.note.textContent = `0 to ${short(this.top)}; ${this.data.force_unit}. ${SECONDS} s from left to right`; }
}

(async () => {
  const data = JSON.parse(byId("data").textContent);
  data.ramp = await unpack(data.ramp);
  data.scene = await unpackAll(data.scene);
  window.biomechau = new Live(data);
  byId("live").dataset.ready = "true";
})();
