// Pictures of several cameras at one instant, as JPEG.

import { Problem } from "./words.js";

const QUALITY = 0.95;
const canvases = new WeakMap();

// Can all of these <video> elements be looked at now?
export const ready = (videos) => videos.every((v) => v.readyState >= 2 && v.videoWidth > 0);

// Return what they show now, a blob each. All are drawn before any is encoded, so that they are of one instant. Throws
// Problem("no-still") where the browser makes none of a picture.
export function grabStills(videos) {
  const drawn = videos.map((video) => {
    const canvas = canvases.get(video) ?? document.createElement("canvas");
    canvases.set(video, canvas);
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    return canvas;
  });
  return Promise.all(drawn.map(encode));
}

function encode(canvas) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Problem("no-still"))), "image/jpeg", QUALITY);
  });
}
