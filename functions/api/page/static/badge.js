// A badge or a card to show elsewhere: its picture, and its Markdown to copy.
import { key, path } from './api.js';
import { h } from './dom.js';
import { choose } from './parts.js';

// What is shown: the words for it, the file, and the field of a badge.
const pictures = {
  week: ['stars in 7 days', 'badge.svg', 'stars_delta_7d'], stars: ['stars', 'badge.svg', 'stars'], rate: ['stars a day, over 30 days', 'badge.svg', 'stars_per_day_30d'],
  forks: ['forks', 'badge.svg', 'forks'], card: ['a card with its line', 'card.svg'],
};

/** markdown is a picture that leads to an address. What Markdown would read is escaped. */
function markdown(text, picture, target) {
  const address = (url) => url.replace(/[()<>\\\s]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0'));
  return `[![${text.replace(/[\\[\]!*_`<>&|~]/g, '\\$&')}](${address(picture)})](${address(target)})`;
}

/**
 * badge offers the pictures of a resource of the API: {resource, name, id, target}. id is
 * the repo_id where the name alone is another's, target the view that a badge leads to.
 */
export function badge({ resource, name, id, target }) {
  const body = h('div', { class: 'badge' });
  const said = h('span', { class: 'unit', role: 'status' });
  const field = h('input', { readonly: true, 'aria-label': 'Markdown of the picture', spellcheck: 'false', onfocus: (e) => e.target.select() });
  const shown = h('img', { alt: '' });
  const link = h('a', { class: 'csv', download: '', title: 'Download the picture as it is now' }, 'SVG');

  function take(which) {
    const [words, file, figure] = pictures[which];
    const at = path(`${resource}/${file}`, { field: figure, repo_id: id });
    shown.alt = `${name}: ${words}`;
    shown.src = at;
    link.setAttribute('href', at);
    field.value = markdown(shown.alt, location.origin + at, location.origin + location.pathname + target);
    said.textContent = '';
  }

  async function copy() {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      said.textContent = 'Copied';
    } catch { // the browser lets only pages of HTTPS or of this machine
      said.textContent = 'Press Ctrl+C to copy what is marked';
    }
  }

  const open = (event) => {
    if (!event.target.open || body.childElementCount) return;
    if (key()) {
      body.append(h('p', { class: 'none' }, 'This server asks for a key, which a picture on another page cannot carry.'));
      return;
    }
    take('week');
    body.append(h('div', { class: 'row' }, choose('Picture', Object.entries(pictures).map(([which, [words]]) => [which, words]), 'week', take), link), shown,
      h('div', { class: 'row' }, field, h('button', { type: 'button', class: 'button', onclick: copy }, 'Copy Markdown'), said));
  };
  return h('details', { class: 'panel all', ontoggle: open }, h('summary', null, 'Badge to show elsewhere'), body);
}
