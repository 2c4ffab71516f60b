// A number in a picture that survives an encoder: 16 cells along its top edge, black or white; 12 bits of the number and 4
// that check them.

const CELLS = 16;
const HIGH = 1 / 8; // of the picture
const NUMBERS = 1 << 12;
const SAMPLE = [4 * CELLS, 4]; // pixels that are looked at

const check = (n) => (n ^ (n >> 4) ^ (n >> 8) ^ 0b1010) & 15;

// Write number `n`, modulo 4096, into the picture of a canvas's 2D context.
export function mark(context, n) {
  const { width, height } = context.canvas;
  const number = n % NUMBERS;
  const bits = (number << 4) | check(number);
  for (let i = 0; i < CELLS; i += 1) {
    context.fillStyle = (bits >> (CELLS - 1 - i)) & 1 ? "#fff" : "#000";
    context.fillRect(Math.floor((i * width) / CELLS), 0, Math.ceil(width / CELLS), Math.ceil(height * HIGH));
  }
}

// The number in what a video shows now, null where there is none; `context` is that of a scratch canvas.
export function readMark(context, video) {
  const [w, h] = SAMPLE;
  Object.assign(context.canvas, { width: w, height: h });
  context.drawImage(video, 0, 0, video.videoWidth, video.videoHeight * HIGH, 0, 0, w, h);
  const { data } = context.getImageData(0, 0, w, h);
  let bits = 0;
  for (let i = 0; i < CELLS; i += 1) {
    const at = 4 * (w + 4 * i + 1); // second row, second pixel of the cell
    bits = (bits << 1) | Number(data[at] + data[at + 4] + data[at + 4 * w] + data[at + 4 * w + 4] > 4 * 127);
  }
  const number = bits >> 4;
  return check(number) === (bits & 15) ? number : null;
}
