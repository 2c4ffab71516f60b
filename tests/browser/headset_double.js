// A headset that the test wears: `navigator.xr` with one device, whose frames come 60 times a second, and
// `XRWebGLLayer` with a framebuffer that can be read. `__headset.head` is where it is: {position, yaw (degrees)};
// `__headset.refuse` the name of the error that a session is refused with; `__headset.eyes()` what the eyes see now.
(() => {
  const [WIDTH, HEIGHT, APART] = [320, 320, 0.063];
  const headset = { head: { position: [0, 0, 0], yaw: 0 }, refuse: null, sessions: [], layer: null, space: null };
  const point = (matrix) => ({ x: matrix.m41, y: matrix.m42, z: matrix.m43, w: 1 });
  const rigid = (matrix, yaw) => {
    const half = (yaw * Math.PI) / 360;
    return {
      position: point(matrix),
      orientation: { x: 0, y: Math.sin(half), z: 0, w: Math.cos(half) },
      matrix: matrix.toFloat32Array(),
      get inverse() {
        return { matrix: matrix.inverse().toFloat32Array() };
      },
    };
  };
  // 90 degrees wide and high, from 0.1 m to far away
  const projectionMatrix = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, -1, 0, 0, -0.2, 0]);
  const frame = {
    getViewerPose() {
      const { position, yaw } = headset.head;
      const at = new DOMMatrix().translate(...position).rotateAxisAngle(0, 1, 0, yaw);
      const view = (eye, side) => ({ eye, projectionMatrix, transform: rigid(at.translate((side * APART) / 2, 0, 0), yaw) });
      return { transform: rigid(at, yaw), views: [view("left", -1), view("right", 1)] };
    },
  };

  class Session extends EventTarget {
    ended = false;
    #timers = new Set();
    requestAnimationFrame(callback) {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        callback(performance.now(), frame);
      }, 1000 / 60);
      this.#timers.add(timer);
      return timer;
    }
    cancelAnimationFrame(timer) {
      clearTimeout(timer);
    }
    async requestReferenceSpace(kind) {
      headset.space = kind;
      return {};
    }
    updateRenderState({ baseLayer }) {
      headset.layer = baseLayer;
    }
    async end() {
      if (this.ended) throw new DOMException("it has ended", "InvalidStateError");
      this.ended = true;
      this.#timers.forEach(clearTimeout);
      this.dispatchEvent(new Event("end"));
    }
  }

  window.XRWebGLLayer = class {
    constructor(session, gl) {
      const before = gl.getParameter(gl.TEXTURE_BINDING_2D);
      const texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, 2 * WIDTH, HEIGHT);
      gl.bindTexture(gl.TEXTURE_2D, before);
      this.framebuffer = gl.createFramebuffer();
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
      this.gl = gl;
    }
    getViewport({ eye }) {
      return { x: eye === "right" ? WIDTH : 0, y: 0, width: WIDTH, height: HEIGHT };
    }
  };
  // Both eyes' pictures side by side: [width, height, RGBA from the top in base64].
  headset.eyes = () => {
    const { gl, framebuffer } = headset.layer;
    const pixels = new Uint8Array(2 * WIDTH * HEIGHT * 4);
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
    gl.readPixels(0, 0, 2 * WIDTH, HEIGHT, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    let text = "";
    for (let row = HEIGHT - 1; row >= 0; row -= 1) {
      text += String.fromCharCode(...pixels.subarray(row * 8 * WIDTH, (row + 1) * 8 * WIDTH));
    }
    return [2 * WIDTH, HEIGHT, btoa(text)];
  };
  const xr = new EventTarget();
  xr.isSessionSupported = async (kind) => kind === "immersive-vr";
  xr.requestSession = async () => {
    if (!navigator.userActivation.isActive) throw new DOMException("no click", "SecurityError");
    if (headset.refuse) throw new DOMException("refused", headset.refuse);
    headset.sessions.push(new Session());
    return headset.sessions.at(-1);
  };
  Object.defineProperty(navigator, "xr", { value: xr, configurable: true });
  window.__headset = headset;
})();
