// Now: the companies side by side, the newest signals, what rises and what falls, what is
// out of date.
import { get, path } from '../api.js';
import { chart, colorsOf, indexed, swatch } from '../chart.js';
import { h } from '../dom.js';
import { companyName, count, plural, rate } from '../format.js';
import { bar, changesFrom, chooseDays, chooseMode, chooseWindow, company, moved, readOn, repositoryColumns, signed, windowWords } from '../parts.js';
import { signals } from '../signals.js';
import { spark } from '../spark.js';
import { table } from '../table.js';

const LIMIT = 8; // rows of each list

export async function now(place, signal) {
  const { window: w, days, mode } = place;
  const answer = await get('overview', { window: w, days, limit: LIMIT }, signal);
  const { groups, lines, rising, falling, out_of_date: stale, signals: newest, repositories, current, changes_from: from } = answer.data;
  const colors = new Map(colorsOf(lines.lines.map((l) => l.name)).map((c, i) => [lines.lines[i].name, c]));
  const values = new Map(lines.lines.map((l) => [l.name, l.values]));
  const [one] = lines.lines;
  const unit = mode === 'indexed' ? 'first = 100' : one?.unit;
  const movers = repositoryColumns(w).filter((c) => c.key !== 'primary_language');
  const content = [
    h('div', { class: 'title' }, h('h1', null, 'Now'), chooseWindow(place)),
    h('p', { class: 'lead' }, headline(groups, w, current, from)),
    table({
      id: 'companies', title: 'Companies', rows: groups, sort: '-rate', empty: 'No company has a reading yet.', source: path('companies', { window: w }), remark: windowWords(w),
      columns: [
        { key: 'name', label: 'Company', term: 'company', value: (g) => g.name, show: (g) => [swatch(colors.get(g.name) ?? 'other'), company(g.name)] },
        { key: 'stars', label: 'Stars', text: 'Stars of all its repositories that were read in the three days before the newest reading.', num: true, value: (g) => g.stars, show: (g) => count(g.stars) },
        { key: 'net', label: 'Net', term: 'stars_delta_' + w, num: true, value: (g) => g.stars_delta, show: (g) => signed(g.stars_delta) },
        { key: 'rate', label: 'A day', text: `Net stars a day over ${windowWords(w)}, summed over its repositories.`, num: true, value: (g) => g.stars_per_day, show: (g) => signed(g.stars_per_day, rate) },
        { key: 'before', label: 'Before', text: `The same over the ${windowWords(w)} before.`, num: true, less: true, value: (g) => g.stars_per_day_before, show: (g) => signed(g.stars_per_day_before, rate) },
        { key: 'share', label: 'Share of growth', text: 'Its part of the net stars of all repositories over the window.', num: true, value: (g) => g.share_of_growth, show: (g) => bar(g.share_of_growth) },
        { key: 'rank', label: 'Rank', text: 'By stars a day, and how it changed since the window before.', num: true, less: true, value: (g) => g.rank, show: (g) => [count(g.rank), ' ', h('small', null, moved(g.rank_change))] },
        { key: 'repositories', label: 'Repositories', text: 'Repositories read in the three days before the newest reading.', num: true, less: true, value: (g) => g.repositories, show: (g) => count(g.repositories) },
        { key: 'line', label: `Last ${days} days`, text: 'Net stars a day, summed over the repositories read on the day.', less: true, value: (g) => g.stars_per_day, show: (g) => spark(values.get(g.name) ?? [], colors.get(g.name)) },
      ],
    }),
    one && chart({
      title: 'Stars a day by company', field: one.definition, unit, first: lines.first_day,
      lines: lines.lines.map((l) => ({ name: companyName(l.name), color: colors.get(l.name), values: mode === 'indexed' ? indexed(l.values) : l.values })),
      tools: [chooseMode(place), chooseDays(place)],
      source: path('lines', { kind: 'company', fields: one.definition, days }),
    }),
    signals({ list: newest, most: LIMIT, empty: 'Nothing was out of the usual so far.' }),
    h('div', { class: 'two' },
      table({ id: 'rising', title: 'Rising', rows: rising, sort: '-rate', columns: movers, empty: changesFrom(from, w) ?? 'No repository gained stars over this window.', source: path('repositories', { sort: '-stars_per_day_' + w, current: true }) }),
      table({ id: 'falling', title: 'Falling', rows: falling, sort: 'rate', columns: movers, empty: changesFrom(from, w) ?? 'No repository lost stars over this window.', source: path('repositories', { sort: 'stars_per_day_' + w, current: true }) })),
    table({
      id: 'stale', title: 'Out of date', rows: stale, sort: '-observed_at', columns: [...repositoryColumns(w).slice(0, 4), readOn],
      remark: `${count(repositories - current)} of ${count(repositories)}`,
      empty: 'Every repository was read in the three days before the newest reading.', source: path('repositories', { current: false, sort: '-observed_at' }),
    }),
  ];
  return { title: 'Now', answer, content };
}

function headline(groups, w, current, from) {
  const grown = groups.filter((g) => g.stars_delta !== null);
  if (!grown.length) return [`${plural(current, 'repository', 'repositories')} read.`, changesFrom(from, w)].join(' ');
  const net = grown.reduce((sum, g) => sum + g.stars_delta, 0);
  const first = grown.find((g) => g.rank === 1) ?? grown[0];
  const rise = first.rank_change > 0 ? `, up from rank ${first.rank_before}` : '';
  const part = first.share_of_growth === null ? '' : ` with ${Math.round(100 * first.share_of_growth)} % of it`;
  return `In ${windowWords(w)}, ${plural(current, 'repository', 'repositories')} ${net < 0 ? 'lost' : 'gained'} ${plural(Math.abs(net), 'star')} net. ${companyName(first.name)} leads${part}${rise}.`;
}
