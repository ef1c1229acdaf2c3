// Companies and owners: what their repositories come to, and each of them.
import { get, path, segment } from '../api.js';
import { badge } from '../badge.js';
import { chart, colors, colorsOf, indexed, swatch } from '../chart.js';
import { h } from '../dom.js';
import { change, companyName, count, rate, share } from '../format.js';
import { changesFrom, chooseDays, chooseMode, choose, chooseWindow, company as companyLink, moved, owner as ownerLink, readOn, repositoryColumns, signed, tile, windowWords, bar } from '../parts.js';
import { address, changed, go } from '../place.js';
import { signals } from '../signals.js';
import { table } from '../table.js';

const LIMIT = 5; // signals
const MOST = 200; // repositories of a group that its table shows, the largest

const fields = () => [
  ['', 'Stars a day'], ['stars', 'Stars'], ['forks', 'Forks'], ['open_issues', 'Open issues'], ['open_prs', 'Open pull requests'],
  ['merged_prs', 'Merged pull requests'], ['commits_total', 'Commits'], ['releases', 'Releases'],
];

export const company = (place, signal) => group('company', place, signal);
export const owner = (place, signal) => group('owner', place, signal);

async function group(kind, place, signal) {
  const { name = '', window: w, days, mode, field = '' } = place;
  const [answer, all] = await Promise.all([
    get('overview', { [kind]: name, window: w, days, field, limit: LIMIT }, signal),
    get('repositories', { [kind]: name, sort: '-stars', limit: MOST, fields: ['name_with_owner', 'company', 'primary_language', 'stars', 'forks', 'open_issues', `stars_delta_${w}`, `stars_per_day_${w}`, 'pushed_at', 'observed_at'].join() }, signal),
  ]);
  const { total, groups, lines, signals: newest, repositories, current, changes_from: from } = answer.data;
  const shown = kind === 'company' ? companyName(name) : name;
  const byOwner = lines.kind === 'owner';
  const taken = byOwner ? colors : colorsOf(lines.lines.map((l) => l.name));
  const color = new Map(lines.lines.map((l, i) => [l.name, taken[i] ?? 'other']));
  const [one] = lines.lines;
  const unit = mode === 'indexed' ? 'first = 100' : one?.unit;
  const columns = repositoryColumns(w, { withCompany: false });
  columns.push(
    { key: 'forks', label: 'Forks', term: 'forks', num: true, less: true, value: (r) => r.forks, show: (r) => count(r.forks) },
    { key: 'open_issues', label: 'Open issues', term: 'open_issues', num: true, less: true, value: (r) => r.open_issues, show: (r) => count(r.open_issues) },
    { ...readOn, less: true });
  const content = [
    h('div', { class: 'title' }, h('h1', null, shown), chooseWindow(place)),
    kind === 'owner' && h('p', { class: 'lead' }, 'Owner', all.data[0]?.company ? [' of ', companyLink(all.data[0].company)] : ''),
    tiles(total, w, repositories, current),
    from && h('p', { class: 'lead' }, changesFrom(from, w)),
    one && chart({
      title: (fields().find(([f]) => f === field)?.[1] ?? field) + (byOwner ? ' by owner' : ' by repository'), field: one.definition, unit, first: lines.first_day,
      lines: lines.lines.map((l) => ({ name: l.name, color: color.get(l.name), values: mode === 'indexed' ? indexed(l.values) : l.values })),
      tools: [choose('Figure', fields(), field, (value) => go(changed({ field: value }), { stay: true })), chooseMode(place), chooseDays(place)],
      source: path('lines', { kind: lines.kind, names: lines.lines.map((l) => l.name).join(), fields: one.definition, days }),
    }),
    signals({ list: newest, of: { [kind]: name }, most: LIMIT, empty: 'Nothing was out of the usual so far.' }),
    kind === 'company' && groups.length > 0 && table({
      id: 'owners', title: 'Owners', rows: groups, sort: '-rate', empty: '', source: path('owners', { window: w }),
      columns: [
        { key: 'name', label: 'Owner', term: 'owner', value: (g) => g.name, show: (g) => [color.has(g.name) && swatch(color.get(g.name)), ownerLink(g.name)] },
        ...groupColumns(w),
      ],
    }),
    table({
      id: 'repositories', title: 'Repositories', rows: all.data, sort: '-stars', columns, remark: all.next ? `the ${MOST} with the most stars` : count(all.data.length),
      empty: 'None.', source: path('repositories', { [kind]: name, sort: '-stars', limit: 1000 }),
    }),
    badge({ resource: `${kind === 'company' ? 'companies' : 'owners'}/${segment(name)}`, name: shown, target: address({ view: kind, name }) }),
  ];
  return { title: shown, answer, content };
}

function tiles(t, w, known, current) {
  const over = windowWords(w);
  return h('dl', { class: 'tiles' },
    tile({ label: 'Stars', text: 'Stars of all repositories that were read in the three days before the newest reading.', value: count(t?.stars), under: [signed(t?.stars_delta), ` in ${over}`] }),
    tile({ label: 'Stars a day', text: `Net stars a day over ${over}, summed over the repositories.`, value: signed(t?.stars_per_day, rate), under: [rate(t?.stars_per_day_before), ' before'] }),
    tile({ label: 'Share of growth', text: 'Part of the net stars of all repositories over the window.', value: share(t?.share_of_growth), under: t?.rank ? [`rank ${t.rank} `, moved(t.rank_change)] : 'no rank' }),
    tile({ label: 'Forks', text: 'Forks of the same repositories.', value: count(t?.forks), under: 'of these repositories' }),
    tile({ label: 'Repositories', text: 'Read in the three days before the newest reading; the others are out of date.', value: count(current), under: `of ${count(known)} ever read` }));
}

const groupColumns = (w) => [
  { key: 'stars', label: 'Stars', term: 'stars', num: true, value: (g) => g.stars, show: (g) => count(g.stars) },
  { key: 'net', label: 'Net', term: 'stars_delta_' + w, num: true, value: (g) => g.stars_delta, show: (g) => signed(g.stars_delta, change) },
  { key: 'rate', label: 'A day', term: 'stars_per_day_' + w, num: true, value: (g) => g.stars_per_day, show: (g) => signed(g.stars_per_day, rate) },
  { key: 'share', label: 'Share of growth', text: 'Part of the net stars of all repositories over the window.', num: true, less: true, value: (g) => g.share_of_growth, show: (g) => bar(g.share_of_growth) },
  { key: 'rank', label: 'Rank', text: 'By stars a day, and how it changed since the window before.', num: true, less: true, value: (g) => g.rank, show: (g) => [count(g.rank), ' ', h('small', null, moved(g.rank_change))] },
  { key: 'repositories', label: 'Repositories', text: 'Repositories read in the three days before the newest reading.', num: true, value: (g) => g.repositories, show: (g) => count(g.repositories) },
];

/** groups lists companies and owners, to choose one. */
export async function groups(place, signal) {
  const w = place.window;
  const [answer, owners] = await Promise.all([get('companies', { window: w }, signal), get('owners', { window: w, limit: 500 }, signal)]);
  const tinted = new Map(answer.data.map((g, i, all) => [g.name, colorsOf(all.map((x) => x.name))[i]]));
  return {
    title: 'Companies', answer,
    content: [
      h('div', { class: 'title' }, h('h1', null, 'Companies and owners'), chooseWindow(place)),
      table({
        id: 'companies', title: 'Companies', rows: answer.data, sort: '-rate', empty: 'None has a reading yet.', source: path('companies', { window: w }),
        columns: [{ key: 'name', label: 'Company', term: 'company', value: (g) => g.name, show: (g) => [swatch(tinted.get(g.name)), companyLink(g.name)] }, ...groupColumns(w)],
      }),
      table({
        id: 'owners', title: 'Owners', rows: owners.data, sort: '-rate', empty: 'None has a reading yet.', source: path('owners', { window: w, limit: 1000 }),
        columns: [{ key: 'name', label: 'Owner', term: 'owner', value: (g) => g.name, show: (g) => ownerLink(g.name) }, ...groupColumns(w)],
      }),
    ],
  };
}
