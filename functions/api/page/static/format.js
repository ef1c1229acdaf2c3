// Writes numbers, times and names for people. What is unknown is a dash.

export const UNKNOWN = '–';

const plain = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat('en-US', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' });
const dayShort = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
const month = new Intl.DateTimeFormat('en-GB', { month: 'short', timeZone: 'UTC' });
const clock = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit', timeZone: 'UTC' });

const known = (v) => v !== null && v !== undefined;
// A minus sign is as wide as a plus sign, a hyphen is not.
const minus = (text) => text.replace('-', '−');

/** count writes a whole number: 12,345. */
export const count = (v) => (known(v) ? minus(plain.format(v)) : UNKNOWN);
/** change is count with its sign. */
export const change = (v) => (known(v) ? (v > 0 ? '+' : '') + count(v) : UNKNOWN);
/** rate writes a number a day, with its sign and one decimal. */
export const rate = (v) => (known(v) ? (v > 0 ? '+' : '') + minus(fine.format(v)) : UNKNOWN);
/** decimal writes one decimal and no sign. */
export const decimal = (v) => (known(v) ? minus(fine.format(v)) : UNKNOWN);
/** share writes 0 to 1 as a percentage. */
export const share = (v) => (known(v) ? minus(fine.format(100 * v)) + ' %' : UNKNOWN);
/** compact writes 12.3K, for axes. */
export const compact = (v) => (known(v) ? minus(short.format(v)) : UNKNOWN);

/** byUnit writes a value as its unit asks. */
export function byUnit(unit) {
  if (unit === 'count') return count;
  return unit === 'count/day' ? rate : decimal;
}

/** words are units as people say them. */
export const words = (unit) => ({ 'count/day': 'a day', count: 'count', 'first = 100': 'first day = 100' })[unit] ?? unit;

export const date = (t) => (known(t) ? day.format(new Date(t)) : UNKNOWN);
export const dateShort = (t) => dayShort.format(new Date(t));
export const monthOf = (t) => month.format(new Date(t));
export const time = (t) => (known(t) ? clock.format(new Date(t)) + ' UTC' : UNKNOWN);

/** ago says how long before now something was. */
export function ago(t, now = Date.now()) {
  const minutes = Math.max(0, Math.round((now - Date.parse(t)) / 60_000));
  const [n, unit] = minutes < 90 ? [minutes, 'minute'] : minutes < 48 * 60 ? [Math.round(minutes / 60), 'hour'] : [Math.floor(minutes / 1440), 'day'];
  return `${plain.format(n)} ${unit}${n === 1 ? '' : 's'}`;
}

/** companyName is a company as people write it; an owner stays as on GitHub. */
export function companyName(company) {
  if (!company) return UNKNOWN;
  return company === 'nvidia' ? 'NVIDIA' : company[0].toUpperCase() + company.slice(1);
}

export const plural = (n, one, many = one + 's') => `${count(n)} ${n === 1 ? one : many}`;
