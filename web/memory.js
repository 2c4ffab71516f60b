// What the page remembers from visit to visit. Private windows may have no storage; nothing depends on it. `storage` is the
// name of one: where storage is blocked, to look at it throws.

export function recall(key, storage = "localStorage") {
  try {
    return window[storage].getItem(`streamsvc.${key}`);
  } catch {
    return null;
  }
}

export function forget(key, storage = "localStorage") {
  try {
    window[storage].removeItem(`streamsvc.${key}`);
  } catch {
    // see above
  }
}

// Say whether that was possible.
export function remember(key, value, storage = "localStorage") {
  try {
    window[storage].setItem(`streamsvc.${key}`, value);
    return true;
  } catch {
    return false;
  }
}
