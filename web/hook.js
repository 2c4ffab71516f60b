// `window.streamsvc`: what tests and the latency probe may read. Every value is a copy; nothing can be changed here.

export function exposeHook(read) {
  const hook = {};
  for (const [name, get] of Object.entries(read)) {
    Object.defineProperty(hook, name, { enumerable: true, get: () => structuredClone(get()) });
  }
  Object.defineProperty(window, "streamsvc", { value: Object.freeze(hook) });
}
