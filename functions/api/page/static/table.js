// Tables that are sorted by their heads.
import { h } from './dom.js';
import { csv } from './parts.js';
import { current, note } from './place.js';
import { term } from './terms.js';

const order = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** compare puts what is unknown last, whichever way the rest goes. */
function compare(a, b, down) {
  const unknown = (v) => v === null || v === undefined;
  if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
  const c = typeof a === 'string' ? order.compare(a, b) : a - b;
  return down ? -c : c;
}

/**
 * table shows rows: {id, title, level, columns, rows, sort, source, empty, tools}. A
 * column is {key, label, term, text, num, less, value(row), show(row)}: value is what it
 * is sorted by, show its cell, less hides it where there is little room. sort is a key,
 * with - before it from the greatest down; the address keeps another.
 */
export function table({ id, title, level = 'h2', columns, rows, sort, source, empty, tools, remark }) {
  const head = h('div', { class: 'head' }, h(level, null, title), remark && h('span', { class: 'unit' }, remark), tools, csv(source));
  if (!rows.length) return h('div', { class: 'panel' }, head, h('p', { class: 'none' }, empty));
  const parameter = 'sort.' + id;
  let by = current()[parameter] ?? sort ?? '';
  if (!columns.some((c) => c.key === by.replace(/^-/, ''))) by = sort ?? '';
  const body = h('tbody');
  const heads = columns.map((c) => {
    const button = h('button', { type: 'button', ...term(c.term, c.text), onclick: () => press(c) }, c.label);
    return h('th', { scope: 'col', class: kind(c) }, button);
  });

  function press(c) {
    const down = by === c.key ? true : by === '-' + c.key ? false : Boolean(c.num);
    by = (down ? '-' : '') + c.key;
    note({ [parameter]: by === sort ? '' : by });
    arrange();
  }

  function arrange() {
    const key = by.replace(/^-/, '');
    const down = by.startsWith('-');
    const column = columns.find((c) => c.key === key);
    const sorted = column ? rows.toSorted((a, b) => compare(column.value(a), column.value(b), down)) : rows;
    for (const [i, c] of columns.entries()) {
      if (c.key === key) heads[i].setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else heads[i].removeAttribute('aria-sort');
    }
    body.replaceChildren(...sorted.map((row) => h('tr', null, columns.map((c, i) => {
      const shown = c.show ? c.show(row) : c.value(row);
      return h(i ? 'td' : 'th', { class: kind(c), scope: i ? null : 'row' }, shown);
    }))));
  }
  arrange();
  return h('div', { class: 'panel' }, head,
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': title },
      h('table', { id }, h('thead', null, h('tr', null, heads)), body)));
}

const kind = (c) => [c.num && 'num', c.less && 'less', c.wide && 'wide'].filter(Boolean).join(' ') || null;
