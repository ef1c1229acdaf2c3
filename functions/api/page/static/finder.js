// Finds a repository by a part of its name.
import { get } from './api.js';
import { h } from './dom.js';
import { compact } from './format.js';

let made = 0;

/** finder is a field that lists what fits while one types; chosen gets the name. */
export function finder({ label, placeholder, chosen, hotkey }) {
  const id = 'find-' + ++made;
  let found = [];
  let at = -1;
  let asked = new AbortController();
  let timer;
  const list = h('ul', { id, role: 'listbox', 'aria-label': label, hidden: true });
  const input = h('input', {
    type: 'search', placeholder, 'aria-label': label, autocomplete: 'off', spellcheck: 'false',
    role: 'combobox', 'aria-expanded': 'false', 'aria-controls': id, 'aria-autocomplete': 'list',
  });
  const said = h('span', { class: 'hidden', role: 'status' });

  function show(names) {
    found = names;
    at = -1;
    list.replaceChildren(...names.map((r, i) => h('li', {
      id: `${id}-${i}`, role: 'option', 'aria-selected': 'false', onmousedown: (e) => { e.preventDefault(); take(r); },
    }, h('span', null, r.label), h('small', null, compact(r.stars) + ' stars'))));
    list.hidden = !names.length;
    input.setAttribute('aria-expanded', String(!list.hidden));
    input.removeAttribute('aria-activedescendant');
  }

  function mark(i) {
    at = (i + found.length) % found.length;
    for (const [j, option] of [...list.children].entries()) option.setAttribute('aria-selected', String(j === at));
    list.children[at].scrollIntoView({ block: 'nearest' });
    input.setAttribute('aria-activedescendant', `${id}-${at}`);
  }

  function take(r) {
    show([]);
    input.value = '';
    chosen(r.name_with_owner);
  }

  async function ask() {
    asked.abort();
    asked = new AbortController();
    const contains = input.value.trim();
    if (!contains) return show([]);
    try {
      const { data } = await get('repositories', { name: contains, sort: '-stars', fields: 'name_with_owner,stars', limit: 8 }, asked.signal);
      show(data);
      said.textContent = data.length ? `${data.length} found` : 'None found';
    } catch (problem) {
      if (problem.name !== 'AbortError') said.textContent = problem.message;
    }
  }

  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(ask, 120);
  });
  input.addEventListener('blur', () => show([]));
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') show([]);
    else if (event.key === 'Enter' && found.length) take(found[Math.max(0, at)]);
    else if (event.key === 'ArrowDown' && found.length) mark(at + 1);
    else if (event.key === 'ArrowUp' && found.length) mark(at - 1);
    else return;
    event.preventDefault();
  });
  if (hotkey) {
    document.addEventListener('keydown', (event) => {
      if (event.key !== hotkey || event.ctrlKey || event.metaKey || event.target.closest('input, select, textarea')) return;
      event.preventDefault();
      input.focus();
    });
  }
  return h('div', { class: 'finder' }, input, list, said);
}
