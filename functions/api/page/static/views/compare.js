// Compare: up to five repositories or companies, as counted or as an index.
import { get, path } from '../api.js';
import { chart, colors, colorsOf, indexed, swatch } from '../chart.js';
import { h } from '../dom.js';
import { finder } from '../finder.js';
import { companyName, count, decimal, rate, share } from '../format.js';
import { bar, choice, choose, chooseDays, chooseMode, chooseWindow, company, repositoryColumns, signed } from '../parts.js';
import { changed, go } from '../place.js';
import { table } from '../table.js';

const MOST = 5;

const fields = [
  ['stars', 'Stars'], ['stars_per_day_7d', 'Stars a day, 7 days'], ['stars_per_day_30d', 'Stars a day, 30 days'], ['forks', 'Forks'], ['open_issues', 'Open issues'],
  ['open_prs', 'Open pull requests'], ['merged_prs', 'Merged pull requests'], ['commits_total', 'Commits'], ['releases', 'Releases'], ['watchers', 'Watchers'],
];

export async function compare(place, signal) {
  const { kind, days, mode, window: w } = place;
  const field = fields.some(([f]) => f === place.field) ? place.field : 'stars';
  const asked = (place.names ?? '').split(',').filter(Boolean).slice(0, MOST);
  const parameters = { kind, names: asked.join(), fields: field, days, limit: MOST };
  const [answer, figures] = await Promise.all([
    get('lines', parameters, signal),
    kind === 'company' ? get('companies', { window: w }, signal)
      : asked.length ? get('compare', { repos: asked.join(), days }, signal) : null,
  ]);
  const lines = answer.data.lines;
  const names = lines.map((l) => l.name);
  const tints = kind === 'company' ? colorsOf(names) : colors;
  const write = kind === 'company' ? companyName : (name) => name;
  const set = (list) => go(changed({ names: list.join() }), { stay: true });
  const chips = h('ul', { class: 'chips' }, lines.map((l, i) => h('li', null, swatch(tints[i]), write(l.name),
    h('button', { type: 'button', 'aria-label': `Remove ${write(l.name)}`, onclick: () => set(names.filter((n) => n !== l.name)) }, '×'))));
  const unit = mode === 'indexed' ? 'first = 100' : lines[0]?.unit;
  const content = [
    h('div', { class: 'title' }, h('h1', null, 'Compare'), kinds(kind), kind === 'company' && chooseWindow(place)),
    h('div', { class: 'picker' }, chips, lines.length < MOST && add(kind, names, figures, set)),
    lines.length > 0 && chart({
      title: fields.find(([f]) => f === field)[1], field, unit, first: answer.data.first_day,
      lines: lines.map((l, i) => ({ name: write(l.name), color: tints[i], values: mode === 'indexed' ? indexed(l.values) : l.values })),
      tools: [choose('Figure', fields, field, (value) => go(changed({ field: value }), { stay: true })), chooseMode(place), chooseDays(place)],
      source: path('lines', { ...parameters, names: names.join() }),
    }),
    !lines.length && h('p', { class: 'notice' }, 'Choose two or more above: they are drawn and set side by side here, and the address of this page keeps them.'),
    figures && lines.length > 0 && (kind === 'company' ? companies(figures.data.filter((g) => names.includes(g.name)), w, names, tints) : repositories(figures.data, lines, tints, path('compare', { repos: asked.join(), days }))),
  ];
  return { title: 'Compare ' + names.map(write).join(', '), answer, content };
}

const kinds = (kind) => {
  const group = choice('What to compare', 'kind', [['repository', 'Repositories'], ['company', 'Companies']], kind);
  for (const link of group.children) link.setAttribute('href', link.getAttribute('href').replace(/&?names=[^&]*/, ''));
  return group;
};

function add(kind, names, figures, set) {
  if (kind === 'company') {
    const rest = figures.data.map((g) => g.name).filter((n) => !names.includes(n));
    return rest.length > 0 && choose('Add a company', [['', 'Add a company'], ...rest.map((n) => [n, companyName(n)])], '', (name) => set([...names, name]));
  }
  return finder({ label: 'Add a repository', placeholder: 'Add a repository', chosen: (name) => set([...new Set([...names, name])]) });
}

function repositories(rows, lines, tints, source) {
  const index = new Map(lines.map((l, i) => [l.name, i]));
  const base = repositoryColumns('7d');
  const named = rows.map((r) => ({ ...r, name_with_owner: r.repository, label: r.repository, primary_language: r.language }));
  return table({
    id: 'side', title: 'Side by side', rows: named, sort: '-stars', empty: '', source,
    columns: [
      { ...base[0], show: (r) => [swatch(tints[index.get(r.label)] ?? 'other'), base[0].show(r)] }, base[1], base[3],
      { key: 'net7', label: 'Net 7 d', term: 'stars_delta_7d', num: true, value: (r) => r.stars_delta_7d, show: (r) => signed(r.stars_delta_7d) },
      { key: 'net30', label: 'Net 30 d', term: 'stars_delta_30d', num: true, value: (r) => r.stars_delta_30d, show: (r) => signed(r.stars_delta_30d) },
      { key: 'rate', label: 'A day, 7 d', term: 'stars_per_day_7d', num: true, value: (r) => r.stars_per_day_7d, show: (r) => signed(r.stars_per_day_7d, rate) },
      { key: 'forks', label: 'Forks', term: 'forks', num: true, value: (r) => r.forks, show: (r) => count(r.forks) },
      { key: 'open_issues', label: 'Open issues', term: 'open_issues', num: true, value: (r) => r.open_issues, show: (r) => count(r.open_issues) },
      { key: 'index', label: 'Index', text: 'Stars now, where those of the first day shown are 100.', num: true, value: (r) => r.index, show: (r) => decimal(r.index) },
      { key: 'share', label: 'Share', text: 'Of the net stars over 30 days of those shown here that grew.', num: true, value: (r) => r.share_of_growth, show: (r) => share(r.share_of_growth) },
    ],
  });
}

function companies(rows, w, names, tints) {
  return table({
    id: 'side', title: 'Side by side', rows, sort: '-rate', empty: '', source: path('companies', { window: w }),
    columns: [
      { key: 'name', label: 'Company', term: 'company', value: (g) => g.name, show: (g) => [swatch(tints[names.indexOf(g.name)]), company(g.name)] },
      { key: 'stars', label: 'Stars', term: 'stars', num: true, value: (g) => g.stars, show: (g) => count(g.stars) },
      { key: 'net', label: 'Net', term: 'stars_delta_' + w, num: true, value: (g) => g.stars_delta, show: (g) => signed(g.stars_delta) },
      { key: 'rate', label: 'A day', term: 'stars_per_day_' + w, num: true, value: (g) => g.stars_per_day, show: (g) => signed(g.stars_per_day, rate) },
      { key: 'forks', label: 'Forks', term: 'forks', num: true, value: (g) => g.forks, show: (g) => count(g.forks) },
      { key: 'repositories', label: 'Repositories', text: 'Read in the three days before the newest reading.', num: true, value: (g) => g.repositories, show: (g) => count(g.repositories) },
      { key: 'share', label: 'Share of growth', text: 'Part of the net stars of all repositories over the window.', num: true, value: (g) => g.share_of_growth, show: (g) => bar(g.share_of_growth) },
    ],
  });
}
