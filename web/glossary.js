// Names and terms that translations should spell right, as they are typed: between commas, semicolons or in lines of their
// own. What the service would refuse is told while it is typed and never sent; what was typed stays until it is taken.

const MOST_TERMS = 60;
const LONGEST_TERM = 60;

// What a text lists: {terms, problem}, each term once; `problem` says in words why the service would refuse it, or is "".
export function readGlossary(text) {
  const found = new Set();
  for (const typed of text.split(/[,;\n]/)) {
    const term = typed.split(/[\s\x1c-\x1f\x85]+/).filter(Boolean).join(" ");
    const length = [...term].length;
    const shown = [...term].slice(0, 24).join("") + (length > 24 ? "…" : "");
    if (length > LONGEST_TERM) return refused(`“${shown}” has ${length} letters; a term may have ${LONGEST_TERM}. Put a comma between names.`);
    if (/[\p{C}\p{Z}]/u.test(term.replaceAll(" ", ""))) return refused(`“${shown}” holds a letter that can’t be shown. Type it anew.`);
    if (term) found.add(term);
  }
  if (found.size > MOST_TERMS) return refused(`These are ${found.size} terms; ${MOST_TERMS} may be listed. Take ${found.size - MOST_TERMS} out.`);
  return { terms: [...found], problem: "" };
}

const refused = (problem) => ({ terms: null, problem });

export class GlossaryField {
  #field;
  #told;
  #typed = false; // something that the service has not taken

  // `told` is the element that says what is wrong; `change` takes the terms.
  constructor(field, told, change) {
    this.#field = field;
    this.#told = told;
    field.oninput = () => {
      this.#typed = true;
      this.#check();
    };
    field.onchange = () => {
      const terms = this.#check();
      if (terms) change(terms);
    };
  }

  // Another call begins: forget what was typed in the one before.
  begin() {
    this.#typed = false;
  }

  // Show what is in force, unless something else was typed.
  show(terms) {
    if (this.#typed && String(readGlossary(this.#field.value).terms) !== String(terms)) return;
    this.#typed = false;
    if (this.#field !== document.activeElement) this.#field.value = terms.join(", ");
    this.#check();
  }

  #check() {
    const { terms, problem } = readGlossary(this.#field.value);
    this.#told.textContent = problem ? `${problem} Until then the names of before are used.` : "";
    if (problem) this.#field.setAttribute("aria-invalid", "true");
    else this.#field.removeAttribute("aria-invalid");
    return terms;
  }
}
