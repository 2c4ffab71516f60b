// The rig that this browser remembers, and which device is which of its cameras.

import { checkRig } from "./rig.js";
import { forget, recall, remember } from "./memory.js";

// Return {rig, devices, name}: `devices` are device ids in rig order, empty where nobody knows; null: no rig.
export function recallRig() {
  try {
    const { rig, devices, name } = JSON.parse(recall("rig"));
    checkRig(rig, "the remembered rig");
    return { rig, devices, name };
  } catch {
    return null;
  }
}

export const rememberRig = (made) => remember("rig", JSON.stringify(made));

export const forgetRig = () => forget("rig");
