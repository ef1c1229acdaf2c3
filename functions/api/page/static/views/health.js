// Data health: how far the figures can be trusted. Freshness, gaps, and completeness by
// sweep.
import { get, path } from '../api.js';
import { h, svg } from '../dom.js';
import { ago, count, date, decimal, plural, share, time, UNKNOWN } from '../format.js';
import { company, owner, tile } from '../parts.js';
import { table } from '../table.js';

const DAY = 86_400_000;
const SWEEPS = 100;

export async function health(place, signal) {
  const [answer, sweeps] = await Promise.all([get('freshness', {}, signal), get('sweeps', { limit: SWEEPS }, signal)]);
  const owners = answer.data;
  const sum = (f) => owners.reduce((total, o) => total + f(o), 0);
  const first = owners.map((o) => o.first_day).sort()[0];
  const last = answer.as_of?.slice(0, 10);
  const inLedger = owners.filter((o) => o.last_sweep_status !== null);
  const complete = inLedger.filter((o) => o.last_sweep_status === 'complete').length;
  const read = last ? daysRead(owners, first, last) : null;
  const content = [
    h('div', { class: 'title' }, h('h1', null, 'Data health')),
    h('dl', { class: 'tiles' },
      tile({ label: 'Newest reading', field: 'observed_at', value: answer.as_of ? date(answer.as_of) : UNKNOWN, under: answer.as_of ? `${ago(answer.as_of)} ago` : '' }),
      tile({ label: 'Days with a reading', text: 'UTC days on which at least one repository was read, of all since the first.', value: read ? count(read.days) : UNKNOWN, under: read ? `of ${count(read.of)}, ${plural(read.of - read.days, 'day')} missing` : '' }),
      tile({ label: 'Up to date', text: 'Repositories read in the three days before the newest reading.', value: count(sum((o) => o.current)), under: `of ${plural(sum((o) => o.repositories), 'repository', 'repositories')} ever read` }),
      tile({ label: 'Owners complete', text: 'Owners of which the last sweep saw all, by the ledger. Recorded data has no ledger.', value: inLedger.length ? count(complete) : UNKNOWN, under: inLedger.length ? `of ${count(inLedger.length)} in the ledger` : 'no ledger: recorded data' })),
    table({
      id: 'owners', title: 'Readings by owner', rows: owners, sort: 'name', empty: 'Nothing has been read yet.', source: path('freshness'),
      remark: first && `${date(first)} to ${date(last)}`,
      columns: [
        { key: 'name', label: 'Owner', term: 'owner', value: (o) => o.owner, show: (o) => owner(o.owner) },
        { key: 'company', label: 'Company', term: 'company', less: true, value: (o) => o.company, show: (o) => company(o.company) },
        { key: 'current', label: 'Up to date', text: 'Repositories read in the three days before the newest reading, of all ever read.', num: true, value: (o) => o.current / o.repositories, show: (o) => `${count(o.current)} of ${count(o.repositories)}` },
        { key: 'newest', label: 'Newest reading', term: 'observed_at', num: true, less: true, value: (o) => Date.parse(o.newest), show: (o) => date(o.newest) },
        { key: 'days', label: 'Days read', text: 'UTC days on which at least one of its repositories was read, of all since the first.', num: true, value: (o) => o.days_read / o.days_expected, show: (o) => share(o.days_read / o.days_expected) },
        { key: 'strip', label: 'Day by day', text: 'A stripe for each span of days without a gap. What is left out was not read.', value: (o) => o.days_read, show: (o) => strip(o, first, last) },
        { key: 'sweep', label: 'Last sweep', text: 'What the ledger says of the last sweep: complete, or why not.', less: true, value: (o) => o.last_sweep_status, show: (o) => o.last_sweep_status ? [status(o.last_sweep_status), o.last_sweep_reason && ` ${o.last_sweep_reason}`] : UNKNOWN },
      ],
    }),
    table({
      id: 'sweeps', title: 'Sweeps', rows: sweeps.data, sort: '-finished', source: path('sweeps', { limit: 1000 }), remark: sweeps.next ? `the newest ${SWEEPS}` : '',
      empty: 'The ledger is empty. It has a line for each owner and sweep once GitHub is read live; recorded data has none.',
      columns: [
        { key: 'owner', label: 'Owner', value: (s) => s.owner, show: (s) => owner(s.owner) },
        { key: 'finished', label: 'Finished', num: true, value: (s) => Date.parse(s.finished_at), show: (s) => time(s.finished_at) },
        { key: 'status', label: 'Status', text: 'complete: everything expected was seen.', value: (s) => s.status, show: (s) => status(s.status) },
        { key: 'seen', label: 'Seen', text: 'Repositories seen, of those expected.', num: true, value: (s) => s.seen, show: (s) => `${count(s.seen)} of ${count(s.expected)}` },
        { key: 'new', label: 'New', num: true, less: true, value: (s) => s.new, show: (s) => count(s.new) },
        { key: 'gone', label: 'Gone', num: true, less: true, value: (s) => s.gone, show: (s) => count(s.gone) },
        { key: 'unanswered', label: 'Unanswered', text: 'Repositories that GitHub did not answer for.', num: true, less: true, value: (s) => s.unanswered, show: (s) => count(s.unanswered) },
        { key: 'points', label: 'Points', text: 'What it cost of the hourly budget of GitHub.', num: true, less: true, value: (s) => s.points, show: (s) => count(s.points) },
        { key: 'seconds', label: 'Seconds', num: true, less: true, value: (s) => s.seconds, show: (s) => decimal(s.seconds) },
        { key: 'reason', label: 'Why', less: true, value: (s) => s.reason, show: (s) => s.reason ?? '' },
      ],
    }),
  ];
  return { title: 'Data health', answer, content };
}

const status = (s) => h('span', { class: s === 'complete' ? null : 'down' }, s.replace('_', ' '));
const ordinal = (day) => Date.parse(day) / DAY;

/** daysRead counts the days on which any owner was read. */
function daysRead(owners, first, last) {
  const of = ordinal(last) - ordinal(first) + 1;
  const read = new Uint8Array(of);
  for (const o of owners) for (const [from, to] of spans(o, last)) read.fill(1, from - ordinal(first), to - ordinal(first) + 1);
  return { of, days: read.reduce((a, b) => a + b, 0) };
}

/** spans are the days read of an owner, between its gaps. */
function spans(o, last) {
  let from = ordinal(o.first_day);
  const found = [];
  for (const gap of o.gaps) {
    if (ordinal(gap.from) > from) found.push([from, ordinal(gap.from) - 1]);
    from = ordinal(gap.to) + 1;
  }
  if (from <= ordinal(last)) found.push([from, ordinal(last)]);
  return found;
}

function strip(o, first, last) {
  const days = ordinal(last) - ordinal(first) + 1;
  return svg('svg', { class: 'strip', viewBox: `0 0 ${days} 10`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${plural(o.gaps.length, 'gap')} since ${date(o.first_day)}` },
    spans(o, last).map(([from, to]) => svg('rect', { x: from - ordinal(first), y: 0, width: to - from + 1, height: 10 })));
}
