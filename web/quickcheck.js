// Is there light enough, is the lens in focus, is the microphone heard? Pure: figures in, {grade, text} out; `grade` is
// "good", "fair" or "poor".

const DARK = 45;
const DIM = 75;
const WHITE = 250;
const BURNT = [0.05, 0.15]; // shares of the picture
const EDGE = 45; // levels that an edge must have to be judged by
const LEAST_EDGES = 20;
const SOFT = [3.6, 5.5]; // pixels that an edge takes, at a width of 640
const HEARD = [0.15, 0.4, 0.93]; // of 1; in dB of full scale: -42, -30, -3

// Judge the light of an ImageData.
export function judgeLight({ data }) {
  let sum = 0;
  let white = 0;
  for (let i = 0; i < data.length; i += 16) {
    const y = luma(data, i);
    sum += y;
    if (y >= WHITE) white += 1;
  }
  const count = data.length / 16;
  const [mean, burnt] = [sum / count, white / count];
  if (mean < DARK) return { grade: "poor", text: "Too dark: turn on a light in front of you." };
  if (burnt > BURNT[1]) return { grade: "poor", text: "Too bright: turn away from the lamp or the window." };
  if (mean < DIM) return { grade: "fair", text: "Rather dark: more light in front of you helps." };
  if (burnt > BURNT[0]) return { grade: "fair", text: "Parts are too bright: dim a lamp, or draw the curtain." };
  return { grade: "good", text: "The light is good." };
}

// Judge how sharp an ImageData is by the width of its edges (Marziliano et al. 2002), the sharpest quarter of them.
export function judgeFocus({ data, width, height }) {
  const widths = [];
  for (let row = 2; row < height; row += 4) {
    let from = luma(data, row * width * 4);
    let before = from;
    let steepest = 0;
    let rising = true;
    for (let x = 1; x < width; x += 1) {
      const y = luma(data, (row * width + x) * 4);
      const step = y - before;
      if (step !== 0 && step > 0 !== rising) {
        if (Math.abs(before - from) >= EDGE) widths.push(Math.abs(before - from) / steepest);
        [from, steepest, rising] = [before, 0, step > 0];
      }
      steepest = Math.max(steepest, Math.abs(step));
      before = y;
    }
  }
  if (widths.length < LEAST_EDGES) return { grade: "fair", text: "Nothing to focus on: hold up something printed." };
  widths.sort((a, b) => a - b);
  const edge = widths[widths.length >> 2] * (640 / width);
  if (edge > SOFT[1]) return { grade: "poor", text: "Out of focus: clean the lens, turn its ring, or come nearer." };
  if (edge > SOFT[0]) return { grade: "fair", text: "A little soft: clean the lens or turn its ring." };
  return { grade: "good", text: "The picture is sharp." };
}

const luma = (data, i) => 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];

// Judge a voice by the loudest of its last levels (0..1, as LevelMeter tells them; none while it knows none).
export function judgeSound(levels) {
  if (!levels.length) return { grade: "fair", text: "The browser does not say yet how loud you are." };
  const most = Math.max(...levels);
  if (most < HEARD[0]) return { grade: "poor", text: "Nothing is heard yet: say something." };
  if (most < HEARD[1]) return { grade: "fair", text: "Your voice is faint: come nearer, or turn the microphone up." };
  if (most > HEARD[2]) return { grade: "fair", text: "Your voice is too loud: turn the microphone down." };
  return { grade: "good", text: "Your voice is heard well." };
}
