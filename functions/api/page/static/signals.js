// Signals: what was out of the usual, as a list and as marks of a chart.
import { key, path } from './api.js';
import { h } from './dom.js';
import { time } from './format.js';
import { csv, owner, repository } from './parts.js';

/** kindOf is the kind of a signal in words. */
export const kindOf = (s) => s.kind.replaceAll('_', ' ');

/** marks are the signals of a chart, for its days. */
export const marks = (signals) => signals.map((s) => ({ at: Date.parse(s.observed_at) / 1000, loud: s.severity === 'warning' || s.severity === 'critical', text: kindOf(s) }));

/** words are a signal's, in which its name leads to what it is of. */
function words(s) {
  const link = s.name_with_owner ? repository(s) : owner(s.owner);
  const name = s.name_with_owner ?? s.owner;
  return s.words.startsWith(name) ? [link, s.words.slice(name.length)] : [link, ': ', s.words];
}

/**
 * signals lists them, the newest first: {title, list, of, most, empty}. of are the
 * parameters of the API that choose them.
 */
export function signals({ title = 'Signals', list, of = {}, most, empty }) {
  const head = h('div', { class: 'head' }, h('h2', null, title), list.length >= most && h('span', { class: 'unit' }, `the newest ${most}`),
    // A reader of feeds can send no key.
    !key() && h('a', { class: 'feed', href: path('signals.atom', of), type: 'application/atom+xml', title: 'Subscribe to these signals' }, 'Atom feed'),
    csv(path('signals', { ...of, limit: 1000 })));
  if (!list.length) return h('div', { class: 'panel' }, head, h('p', { class: 'none' }, empty));
  return h('div', { class: 'panel' }, head, h('ul', { class: 'signals' }, list.map((s) => h('li', null,
    h('span', { class: 'severity ' + s.severity }, s.severity), h('span', { class: 'kind' }, kindOf(s)), h('p', null, words(s)),
    h('time', { datetime: s.observed_at }, time(s.observed_at))))));
}
