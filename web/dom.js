// Two small helpers for making elements; attributes are properties, so nothing needs inline script or style.

export function element(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

// Fill a select with [value, text] pairs and choose `value`.
export function fillSelect(select, choices, value) {
  select.replaceChildren(...choices.map(([v, text]) => element("option", { value: v, textContent: text })));
  select.value = value;
}
