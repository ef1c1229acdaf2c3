// What several views are made of.
import { key, save } from './api.js';
import { h } from './dom.js';
import { change, companyName, count, date, rate, share, time, UNKNOWN } from './format.js';
import { changed, companyAt, ownerAt, repositoryAt } from './place.js';
import { term } from './terms.js';

/** csv is the link that downloads what is shown, from the API. */
export function csv(source) {
  if (!source) return null;
  const url = source + (source.includes('?') ? '&' : '?') + 'format=csv';
  return h('a', {
    class: 'csv', href: url, download: '', title: 'Download these numbers',
    onclick: (event) => {
      if (!key()) return;
      event.preventDefault();
      save(url, 'm7pulse.csv').catch((problem) => event.target.replaceChildren(problem.message));
    },
  }, 'CSV');
}

/** stay makes a link that changes some things of the place. What was noted in the address
 * since it was made, the order of a table, stays too. */
export const stay = (parts) => ({
  href: changed(parts), 'data-stay': '',
  onclick: (event) => event.currentTarget.setAttribute('href', changed(parts)),
});

/** choice is a row of links, one of which is chosen: they change one thing of the place. */
export function choice(label, parameter, options, chosen) {
  return h('div', { class: 'choice', role: 'group', 'aria-label': label },
    options.map(([value, text]) => h('a', { ...stay({ [parameter]: value }), 'aria-current': String(value) === String(chosen) ? 'true' : null }, text)));
}

export const windows = [['1h', '1 hour'], ['24h', '24 hours'], ['7d', '7 days'], ['30d', '30 days']];
export const spans = [['30', '30 d'], ['90', '90 d'], ['180', '180 d'], ['365', '1 year']];
export const windowWords = (w) => windows.find(([value]) => value === w)?.[1] ?? w;

/** changesFrom says when changes over a window are first known; nothing if some are. */
export const changesFrom = (t, w) => (t ? `Changes over ${windowWords(w)} are known from ${time(t)}: the first reading is old enough then.` : null);

export const chooseWindow = (place) => choice('Over which time changes are counted', 'window', windows, place.window);
export const chooseDays = (place) => choice('Days shown', 'days', spans, place.days);
export const chooseMode = (place) => choice('As counted, or as an index', 'mode', [['raw', 'Raw'], ['indexed', 'Index 100']], place.mode);

/** choose is a list to choose one of many from. */
export function choose(label, options, chosen, onchange) {
  return h('label', { class: 'choose' }, h('span', { class: 'hidden' }, label),
    h('select', { onchange: (e) => onchange(e.target.value) }, options.map(([value, text]) => h('option', { value, selected: value === chosen }, text))));
}

/** signed is a change with its sign, in the colour of a fall if it is one. */
export const signed = (v, write = change) => h('span', { class: v < 0 ? 'down' : null }, write(v));

/** tile is one figure: {label, field, text, value, under}. */
export const tile = ({ label, field, text, value, under }) => h('div', { class: 'tile' },
  h('dt', null, h('button', { type: 'button', class: 'term', ...term(field, text) }, label)),
  h('dd', null, h('strong', null, value), under && h('span', { class: 'under' }, under)));

export const repository = (r) => h('a', { href: repositoryAt(r.name_with_owner) }, r.label ?? r.name_with_owner);
export const company = (name) => (name ? h('a', { href: companyAt(name) }, companyName(name)) : UNKNOWN);
export const owner = (name) => h('a', { href: ownerAt(name) }, name);

/** moved says how a rank changed. */
export const moved = (v) => (v === null || v === undefined ? UNKNOWN : v === 0 ? '=' : h('span', { class: v < 0 ? 'down' : null }, (v > 0 ? '▲' : '▼') + Math.abs(v)));

/** bar is a share with a bar as long as it. */
export const bar = (v) => (v === null || v === undefined ? UNKNOWN : h('span', { class: 'bar' }, h('progress', { value: Math.max(0, v), max: 1, 'aria-hidden': 'true', tabindex: -1 }), h('span', null, share(v))));

/** moving is a change or a rate of a repository, null for one that is out of date: its window ended long ago. */
export const moving = (r, field) => (r.is_current === false ? null : r[field]);

/** repositoryColumns are those of tables of repositories over a window. */
export const repositoryColumns = (w, { withCompany = true } = {}) => [
  { key: 'name_with_owner', label: 'Repository', term: 'name_with_owner', value: (r) => r.label, show: repository, wide: true },
  ...(withCompany ? [{ key: 'company', label: 'Company', term: 'company', less: true, value: (r) => r.company, show: (r) => company(r.company) }] : []),
  { key: 'primary_language', label: 'Language', term: 'primary_language', less: true, value: (r) => r.primary_language, show: (r) => r.primary_language ?? UNKNOWN },
  { key: 'stars', label: 'Stars', term: 'stars', num: true, value: (r) => r.stars, show: (r) => count(r.stars) },
  { key: 'net', label: 'Net', term: 'stars_delta_' + w, num: true, value: (r) => moving(r, 'stars_delta_' + w), show: (r) => signed(moving(r, 'stars_delta_' + w)) },
  { key: 'rate', label: 'A day', term: 'stars_per_day_' + w, num: true, value: (r) => moving(r, 'stars_per_day_' + w), show: (r) => signed(moving(r, 'stars_per_day_' + w), rate) },
];

/** readOn is the column of when a repository was read last. */
export const readOn = { key: 'observed_at', label: 'Last read', term: 'observed_at', num: true, value: (r) => Date.parse(r.observed_at), show: (r) => date(r.observed_at) };
