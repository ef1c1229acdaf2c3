// One repository: its counters with their changes, lines over time, and every figure
// with its definition.
import { get, path, segment } from '../api.js';
import { badge } from '../badge.js';
import { chart, colorsOf, indexed } from '../chart.js';
import { github, h } from '../dom.js';
import { byUnit, change, count, date, rate, time, UNKNOWN } from '../format.js';
import { choice, chooseDays, chooseMode, chooseWindow, company, moving, owner, readOn, repositoryColumns, signed, stay } from '../parts.js';
import { address, note } from '../place.js';
import { marks, signals } from '../signals.js';
import { spark } from '../spark.js';
import { table } from '../table.js';
import { load, term } from '../terms.js';

const counters = [
  ['stars', 'Stars'], ['forks', 'Forks'], ['open_issues', 'Open issues'], ['closed_issues', 'Closed issues'], ['open_prs', 'Open pull requests'],
  ['merged_prs', 'Merged pull requests'], ['commits_total', 'Commits'], ['releases', 'Releases'], ['watchers', 'Watchers'],
];
const SIGNALS = 50; // at most: those of the days shown
const others = ['stars_delta_24h', 'stars_per_day_7d', 'stars_per_day_30d'];

export async function repository(place, signal) {
  const [login = '', short = ''] = (place.name ?? '').split('/');
  const at = `repositories/${segment(login)}/${segment(short)}`;
  const days = Number(place.days);
  const [answer, drawn] = await Promise.all([
    get(at, { repo_id: place.repo_id }, signal),
    get('lines', { kind: 'repository', names: place.repo_id ?? place.name, fields: [...counters.map(([c]) => c), ...others].join(), days, signals: SIGNALS }, signal),
  ]);
  const r = answer.data;
  if (r.name_with_owner !== place.name) note({ name: r.name_with_owner }); // renamed, or of other case
  const lines = new Map(drawn.data.lines.map((l) => [l.definition, l]));
  const chosen = lines.has(place.field) ? place.field : 'stars';
  const label = counters.find(([c]) => c === chosen)?.[1] ?? 'Stars';
  const line = lines.get(chosen);
  // A repo_id of recorded data is larger than a number here can be: it comes from the address alone.
  const source = (fields) => path('lines', { kind: 'repository', names: place.repo_id ?? r.name_with_owner, fields, days });
  const [color] = colorsOf([r.company]);
  const content = [
    h('div', { class: 'title' }, h('h1', null, r.label),
      h('span', { class: 'actions' },
        h('a', { href: address({ view: 'compare', names: r.name_with_owner }) }, 'Compare'),
        h('a', { href: github(...r.name_with_owner.split('/')), rel: 'noopener noreferrer', target: '_blank' }, 'GitHub ↗'))),
    r.description && h('p', { class: 'lead' }, r.description),
    about(r),
    h('div', { class: 'head tight' }, h('h2', null, 'Counters'), h('span', { class: 'unit' }, 'choose one to draw it'), chooseWindow(place)),
    h('div', { class: 'tiles pick' }, counters.map(([c, name]) => counter(r, c, name, lines.get(c), place.window, chosen, color))),
    line && chart({
      title: label, field: chosen, unit: place.mode === 'indexed' ? 'first = 100' : line.unit, first: drawn.data.first_day,
      lines: [{ name: label, color, values: place.mode === 'indexed' ? indexed(line.values) : line.values }],
      tools: [chooseMode(place), chooseDays(place)], source: source(chosen), marks: marks(drawn.data.signals),
    }),
    h('div', { class: 'two' },
      chart({ title: 'Net stars by day', field: 'stars_delta_24h', unit: 'count', first: drawn.data.first_day, bars: true, height: 220, lines: [{ name: 'Net stars', color, values: lines.get('stars_delta_24h').values }], source: source('stars_delta_24h') }),
      chart({
        title: 'Stars a day, over a week and a month', field: 'stars_per_day_7d', unit: 'count/day', first: drawn.data.first_day, height: 220, source: source('stars_per_day_7d,stars_per_day_30d'),
        lines: [{ name: '7 days', color, values: lines.get('stars_per_day_7d').values }, { name: '30 days', color: 'other', values: lines.get('stars_per_day_30d').values }],
      })),
    signals({ list: drawn.data.signals, of: { repository: place.repo_id ?? r.name_with_owner }, most: SIGNALS, empty: `Nothing was out of the usual in these ${days} days.` }),
    badge({ resource: at, name: r.label, id: place.repo_id, target: address({ view: 'repository', name: r.name_with_owner, repo_id: place.repo_id }) }),
    everything(r, path(at, { repo_id: place.repo_id })),
  ];
  return { title: r.label, answer, content };
}

/** counter is a tile that draws its counter when it is chosen. */
function counter(r, field, name, line, w, chosen, color) {
  const net = moving(r, `${field}_delta_${w}`);
  const known = r[field] !== null && r[field] !== undefined;
  const under = !known ? 'not read yet' : net === undefined ? '' : [signed(net, change), ` in ${w}`, h('br'), h('small', null, rate(moving(r, `${field}_per_day_${w}`)), ' a day')];
  return h('a', { class: known ? 'tile' : 'tile unread', ...stay({ field: field === 'stars' ? '' : field }), 'aria-current': field === chosen ? 'true' : null, ...term(field) },
    h('span', { class: 'label' }, name), h('strong', null, count(r[field])), h('span', { class: 'under' }, under), known && line && spark(line.values, color));
}

function about(r) {
  const facts = [
    ['Company', r.company && company(r.company), 'company'], ['Owner', owner(r.owner), 'owner'], ['Language', r.primary_language, 'primary_language'], ['Licence', r.license, 'license'],
    ['Newest release', r.latest_release && [r.latest_release, r.latest_release_at && ` · ${date(r.latest_release_at)}`], 'latest_release'],
    ['Last push', r.pushed_at && date(r.pushed_at), 'pushed_at'], ['Created', r.created_at && date(r.created_at), 'created_at'], ['Last read', time(r.observed_at), 'observed_at'],
  ].filter(([, value]) => value);
  const marks = [
    r.is_archived && ['archived', 'is_archived'], r.is_fork && ['fork', 'is_fork'], r.is_breakout && ['breaking out', 'is_breakout'], r.is_suspicious && ['suspicious', 'is_suspicious'],
    !r.is_current && ['out of date', '', 'It was not read in the three days before the newest reading: deleted, made private or moved, or its owner is no longer read.'],
  ].filter(Boolean);
  return [
    h('dl', { class: 'facts' }, facts.map(([label, value, field]) => h('div', null, h('dt', null, h('button', { type: 'button', class: 'term', ...term(field) }, label)), h('dd', null, value)))),
    (marks.length > 0 || r.topics?.length > 0) && h('ul', { class: 'marks' },
      marks.map(([text, field, why]) => h('li', null, h('button', { type: 'button', class: 'mark', ...term(field, why) }, text))), (r.topics ?? []).map((t) => h('li', null, t))),
  ];
}

/** everything is the table of all figures with their definitions, read when it is opened. */
function everything(r, source) {
  const skip = new Set(['label', 'is_former', 'is_current']);
  const body = h('div');
  const open = async (event) => {
    if (!event.target.open || body.childElementCount) return;
    const definitions = await load();
    const rows = Object.entries(r).filter(([name]) => !skip.has(name)).map(([name, value]) => ({ name, value, d: definitions.get(name) }));
    body.replaceChildren(table({
      id: 'figures', level: 'h3', title: 'Figures', rows, sort: '', source, empty: 'None.',
      columns: [
        { key: 'name', label: 'Field', value: (x) => x.name, show: (x) => h('code', null, x.name) },
        { key: 'value', label: 'Value', value: (x) => (typeof x.value === 'number' ? x.value : null), num: true, show: (x) => written(x) },
        { key: 'unit', label: 'Unit', less: true, value: (x) => x.d?.unit ?? '' },
        { key: 'text', label: 'Definition', value: (x) => x.d?.text ?? '', wide: true },
      ],
    }));
  };
  return h('details', { class: 'panel all', ontoggle: open }, h('summary', null, 'All figures and their definitions'), body);
}

function written({ value, d, name }) {
  if (value === null || value === undefined || value === '') return UNKNOWN;
  if (d?.kind === 'time') return time(value);
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.map((v) => (typeof v === 'object' ? v.name : v)).join(', ') || UNKNOWN;
  if (name.endsWith('_id')) return String(value);
  return typeof value === 'number' ? byUnit(d?.unit)(value) : String(value);
}

/** search lists repositories, to choose one. */
export async function search(place, signal) {
  const w = place.window;
  const sorts = [['stars', 'Most stars'], [`stars_per_day_${w}`, 'Fastest'], ['forks', 'Most forks'], ['open_issues', 'Most open issues']];
  const by = sorts.some(([s]) => s === place.by) ? place.by : 'stars';
  const parameters = { sort: '-' + by, current: true, limit: 100, fields: `name_with_owner,company,primary_language,stars,forks,open_issues,stars_delta_${w},stars_per_day_${w},observed_at` };
  const answer = await get('repositories', parameters, signal);
  const columns = [
    ...repositoryColumns(w),
    { key: 'forks', label: 'Forks', term: 'forks', num: true, less: true, value: (r) => r.forks, show: (r) => count(r.forks) },
    { key: 'open_issues', label: 'Open issues', term: 'open_issues', num: true, less: true, value: (r) => r.open_issues, show: (r) => count(r.open_issues) },
    { ...readOn, less: true },
  ];
  return {
    title: 'Repositories', answer,
    content: [
      h('div', { class: 'title' }, h('h1', null, 'Repositories'), choice('Which come first', 'by', sorts, by), chooseWindow(place)),
      table({
        id: 'repositories', title: sorts.find(([s]) => s === by)[1], rows: answer.data, sort: by.startsWith('stars_per_day') ? '-rate' : '-' + by, columns,
        remark: answer.next ? 'the first 100; any other by its name above' : '', empty: 'None has a reading yet.', source: path('repositories', { ...parameters, limit: 1000 }),
      }),
    ],
  };
}
