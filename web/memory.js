// What the page remembers from visit to visit. Private windows may have no storage; nothing depends on it.

export function recall(key, storage = localStorage) {
  try {
    return storage.getItem(`streamsvc.${key}`);
  } catch {
    return null;
  }
}

export function forget(key, storage = localStorage) {
  try {
    storage.removeItem(`streamsvc.${key}`);
  } catch {
    // see above
  }
}

export function remember(key, value, storage = localStorage) {
  try {
    storage.setItem(`streamsvc.${key}`, value);
  } catch {
    // see above
  }
}
