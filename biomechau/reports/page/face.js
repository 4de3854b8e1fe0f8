"use strict";
// The face: neutral + sum_k c_k B_k, coloured by |sum_m F_m field_m|, drawn with WebGL 2 and turned by dragging.

const VERTEX_SHADER = `#version 300 es
in vec3 position; in vec3 normal; in float level;
uniform mat3 turn; uniform vec3 centre; uniform vec2 scale;
out vec3 facing; out float force;
void main() {
  vec3 p = turn * (position - centre);
  float near = 1.0 - p.z * 0.006;  // a portrait lens
  gl_Position = vec4(p.xy * scale / near, -p.z * 0.02, 1.0);
  facing = turn * normal;
  force = level;
}`;
const FRAGMENT_SHADER = `#version 300 es
precision mediump float;
in vec3 facing; in float force;
uniform sampler2D ramp; uniform bool inside; uniform vec3 insideColour;
out vec4 colour;
void main() {
  vec3 n = normalize(facing);
  // Both, because the coarse mesh has a few thin triangles that are turned over.
  if (inside || (!gl_FrontFacing && n.z < 0.0)) { colour = vec4(insideColour, 1.0); return; }
  float light = 0.25;
  light += 0.51 * max(dot(n, normalize(vec3(-0.6, 0.8, 1.0))), 0.0);
  light += 0.36 * max(dot(n, normalize(vec3(0.9, 0.2, 1.0))), 0.0);
  light += 0.12 * max(dot(n, normalize(vec3(0.0, -0.5, 1.0))), 0.0);
  colour = vec4(texture(ramp, vec2(clamp(force, 0.0, 1.0) * 255.0 / 256.0 + 0.5 / 256.0, 0.5)).rgb * light, 1.0);
}`;

class Face {
  /** @throws {Error} without WebGL 2 */
  constructor(canvas, ramp, insideColour) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: true, alpha: true });
    if (!this.gl) throw new Error("no WebGL 2");
    const gl = this.gl;
    this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    gl.useProgram(this.program);
    this.place = (name) => gl.getUniformLocation(this.program, name);
    this.buffers = { position: gl.createBuffer(), normal: gl.createBuffer(), level: gl.createBuffer() };
    for (const [name, size] of [["position", 3], ["normal", 3], ["level", 1]]) {
      const attribute = gl.getAttribLocation(this.program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.enableVertexAttribArray(attribute);
      gl.vertexAttribPointer(attribute, size, gl.FLOAT, false, 0, 0);
    }
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, ramp.length / 3, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, ramp);
    for (const [name, value] of [["MIN_FILTER", "LINEAR"], ["MAG_FILTER", "LINEAR"], ["WRAP_S", "CLAMP_TO_EDGE"], ["WRAP_T", "CLAMP_TO_EDGE"]])
      gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${name}`], gl[value]);
    gl.uniform3fv(this.place("insideColour"), insideColour);
    gl.enable(gl.DEPTH_TEST);
    this.yaw = this.pitch = 0;
    this._listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Show another face; its arrays are those of `FaceScene`. */
  setScene(scene) {
    const gl = this.gl, count = scene.neutral.length;
    this.scene = scene;
    this.positions = new Float32Array(count);
    this.normals = new Float32Array(count);
    this.levels = new Float32Array(count / 3);
    this.numFace = scene.faces.length;
    this.triangles = new Uint32Array(scene.faces.length + scene.backing.length);
    this.triangles.set(scene.faces);
    this.triangles.set(scene.backing, scene.faces.length);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.triangles, gl.STATIC_DRAW);
    const low = [1e9, 1e9, 1e9], high = [-1e9, -1e9, -1e9];
    scene.neutral.forEach((value, i) => { low[i % 3] = Math.min(low[i % 3], value); high[i % 3] = Math.max(high[i % 3], value); });
    this.centre = low.map((value, axis) => (value + high[axis]) / 2);
    this.size = [1.12 * (high[0] - low[0]), 1.12 * (high[1] - low[1])];
  }

  /** Move the face to a frame. forces: one a muscle, three a muscle, or null; scale: the force at the ramp's end. */
  setFrame(coefficients, forces, scale) {
    const { neutral, blendshapes, fields } = this.scene, p = this.positions, size = p.length;
    p.set(neutral);
    addScaled(p, coefficients, blendshapes);
    if (forces) {
      const vector = fields.length * 3 === forces.length * this.levels.length;
      const field = new Float32Array(size);
      if (vector) addVectors(field, forces, fields); else addScaled(field, forces, fields);
      for (let i = 0; i < this.levels.length; i++)
        this.levels[i] = Math.hypot(field[3 * i], field[3 * i + 1], field[3 * i + 2]) / scale;
    } else this.levels.fill(0);
    this._normals();
    const gl = this.gl;
    for (const [name, data] of [["position", p], ["normal", this.normals], ["level", this.levels]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    }
    this.draw();
  }

  draw() {
    if (!this.scene) return;
    const gl = this.gl, canvas = this.canvas, pixels = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * pixels), height = Math.round(canvas.clientHeight * pixels);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const fit = Math.min(width / this.size[0], height / this.size[1]);
    gl.uniform2f(this.place("scale"), (2 * fit) / width, (2 * fit) / height);
    gl.uniform3fv(this.place("centre"), this.centre);
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    gl.uniformMatrix3fv(this.place("turn"), false, [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy]);
    for (const [inside, start, count] of [[0, 0, this.numFace], [1, this.numFace, this.triangles.length - this.numFace]]) {
      gl.uniform1i(this.place("inside"), inside);
      gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 4 * start);
    }
  }

  turn(yaw, pitch) {
    this.yaw = Math.max(-1.4, Math.min(1.4, yaw));
    this.pitch = Math.max(-0.9, Math.min(0.9, pitch));
    this.draw();
  }

  _normals() {
    const p = this.positions, n = this.normals.fill(0), t = this.triangles;
    for (let f = 0; f < this.numFace; f += 3) {
      const a = 3 * t[f], b = 3 * t[f + 1], c = 3 * t[f + 2];
      const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
      const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
      const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
      for (const v of [a, b, c]) { n[v] += x; n[v + 1] += y; n[v + 2] += z; }
    }
  }

  _listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId))
        this.turn(this.yaw + event.movementX * 0.01, this.pitch + event.movementY * 0.01);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.turn(this.yaw + step[0], this.pitch + step[1]);
    });
  }
}

/** sum += sum_k weights[k] basis[k], basis flat. */
function addScaled(sum, weights, basis) {
  const size = sum.length;
  for (let k = 0; k < weights.length; k++) {
    const weight = weights[k], start = k * size;
    if (weight) for (let i = 0; i < size; i++) sum[i] += weight * basis[start + i];
  }
}

/** sum (N x 3) += sum_m share[m] (N) times the vector of muscle m. */
function addVectors(sum, vectors, share) {
  const size = sum.length / 3;
  for (let m = 0; 3 * m < vectors.length; m++)
    for (let i = 0; i < size; i++)
      for (let axis = 0; axis < 3; axis++) sum[3 * i + axis] += share[m * size + i] * vectors[3 * m + axis];
}
