// A light look at rig.json before it is sent; the service checks it in full.

import { Problem } from "./words.js";

const MAX_BYTES = 200_000;
const MAX_CAMERAS = 16;

// Return the decoded rig; throws Problem("bad-rig") that says what is wrong.
export async function readRig(file) {
  if (file.size > MAX_BYTES) throw bad(file.name, `has ${file.size} bytes; a rig has at most ${MAX_BYTES}`);
  let rig;
  try {
    rig = JSON.parse(await file.text());
  } catch {
    throw bad(file.name, "is not JSON");
  }
  checkRig(rig, file.name);
  return rig;
}

const bad = (name, why) => new Problem("bad-rig", `${name}: ${why}`);

// Throw Problem("bad-rig") that says what is wrong with a decoded rig called `name`.
export function checkRig(rig, name) {
  const no = (why) => bad(name, why);
  if (rig?.version !== 1) throw no("needs \"version\": 1");
  const cameras = rig.cameras;
  if (!Array.isArray(cameras) || !cameras.length || cameras.length > MAX_CAMERAS) {
    throw no(`needs a list of 1 to ${MAX_CAMERAS} cameras`);
  }
  for (const camera of cameras) {
    const label = JSON.stringify(camera?.name ?? "?");
    if (typeof camera?.name !== "string" || !camera.name) throw no("a camera has no name");
    if (!(camera.width > 0 && camera.height > 0)) throw no(`camera ${label} has no width and height`);
    for (const [key, rows] of [["K", 3], ["R", 3], ["t", 3]]) {
      if (camera[key]?.length !== rows) throw no(`camera ${label}: ${key} must have ${rows} rows`);
    }
  }
  if (new Set(cameras.map((c) => c.name)).size !== cameras.length) throw no("two cameras have one name");
}
