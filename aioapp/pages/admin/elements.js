/** Words and rows put on the page: what differs is changed, and the rest left as it is. */

/** @typedef {string | {text: string, title?: string, kind?: string, at?: string}} Words */

export const find = id => document.getElementById(id);

/** @param {Words} words */
export function put(element, words) {
  const {text, title = "", kind = "", at} = typeof words === "string" ? {text: words} : words;
  if (element.textContent !== text) element.textContent = text;
  if (element.title !== title) element.title = title;
  if (at) element.dateTime = at;
  element.dataset.kind = kind;
}

/** Put words into what is marked `data-of` within. @param {Object<string, Words>} words */
export function fill(root, words) {
  for (const [name, of] of Object.entries(words)) put(root.querySelector(`[data-of="${name}"]`), of);
}

/**
 * Make `parent` hold one element for each item, in their order; whoever was there before stays the same element.
 * @template T @param {Map<string, T>} items @param {(element: HTMLElement, item: T) => void} show
 */
export function keep(parent, items, make, show) {
  const there = new Map([...parent.children].filter(child => "id" in child.dataset).map(child => [child.dataset.id, child]));
  const focused = document.activeElement;
  for (const [id, child] of there) if (!items.has(id)) child.remove();
  let next = null; // from the end: what comes in at the top then moves nobody
  for (const [id, item] of [...items].reverse()) {
    const element = there.get(id) ?? make();
    element.dataset.id = id;
    show(element, item);
    if (!element.parentNode || element.nextElementSibling !== next) parent.insertBefore(element, next);
    next = element;
  }
  if (focused !== document.activeElement) focused.focus({preventScroll: true}); // it was moved
}

export const copyOf = template => () => find(template).content.firstElementChild.cloneNode(true);

/** @param {?number} share from 0 to 1; null hides it */
export function setBar(root, share) {
  root.querySelector(".track").hidden = share === null;
  root.querySelector(".bar").style.width = share ? `max(1px, ${100 * Math.min(share, 1)}%)` : "0";
  root.querySelector(".bar").classList.toggle("full", share >= 1);
}

/** Say in a table without rows that it has none. */
export function sayIfEmpty(table, words) {
  const empty = !table.querySelector("[data-id]:not([hidden])");
  table.tHead.hidden = empty;
  if (empty) put(table.createCaption(), words); else table.deleteCaption();
}
