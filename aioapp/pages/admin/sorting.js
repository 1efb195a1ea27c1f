/** Tables that are sorted by a click on a column's head: again turns them round. */

const chosen = new Map(); // by the table's id: the column, and whether the greatest comes first

/** Take a click on a head; gives whether it was one. */
export function chooseOrder({target}) {
  const button = target.closest("[data-sort]");
  if (!button) return false;
  const {id} = button.closest("table");
  const {by, down} = chosen.get(id) ?? {};
  const {sort, first} = button.dataset;
  chosen.set(id, {by: sort, down: by === sort ? !down : first === "down"});
  return true;
}

/**
 * The rows in the order that was chosen, or in the usual one; the heads say which that is.
 * @template T @param {T[]} rows @param {Object<string, (row: T) => string | number>} values by column
 */
export function inOrder(table, rows, values, usual) {
  const {by, down} = chosen.get(table.id) ?? usual;
  for (const button of table.querySelectorAll("[data-sort]")) {
    button.closest("th").ariaSort = button.dataset.sort === by ? (down ? "descending" : "ascending") : null;
  }
  const value = values[by];
  const order = (one, other) => typeof one === "string" ? one.localeCompare(other) : one - other;
  return [...rows].sort((one, other) => (down ? -1 : 1) * order(value(one), value(other)));
}
