// What is drawn over a camera's picture while a board is shown to it: the parts that are done, the one that is wanted,
// and the points that were found.

const LINES = [1 / 3, 2 / 3];

// Draw on `canvas` what a `seen` says of one camera of `width` x `height` pixels; `wanted` is a zone's number, or null.
export function drawOverlay(canvas, { width, height }, { corners, blurred, zones }, wanted) {
  canvas.width = width;
  canvas.height = height;
  const g = canvas.getContext("2d");
  const [w, h] = [width / 3, height / 3];
  const unit = width / 160;
  zones.forEach((count, i) => {
    if (!count) return;
    g.fillStyle = `rgb(43 179 191 / ${Math.min(0.12 + 0.05 * count, 0.38)})`;
    g.fillRect((i % 3) * w, Math.floor(i / 3) * h, w, h);
  });
  g.strokeStyle = "rgb(255 255 255 / 0.4)";
  g.lineWidth = unit / 4;
  for (const at of LINES) {
    g.strokeRect(at * width, -unit, width, height + 2 * unit);
    g.strokeRect(-unit, at * height, width + 2 * unit, height);
  }
  if (wanted !== null) {
    g.strokeStyle = "#ffd166";
    g.lineWidth = unit;
    g.setLineDash([4 * unit, 2 * unit]);
    g.strokeRect((wanted % 3) * w + unit, Math.floor(wanted / 3) * h + unit, w - 2 * unit, h - 2 * unit);
    g.setLineDash([]);
  }
  g.fillStyle = blurred ? "#ff6b6b" : "#4cc38a";
  for (const [x, y] of corners) {
    g.beginPath();
    g.arc(x, y, unit, 0, 2 * Math.PI);
    g.fill();
  }
}
