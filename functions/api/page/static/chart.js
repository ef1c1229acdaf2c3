// Lines over days by uPlot, each with a legend that shows the values at the cursor, and
// a table of the same numbers.
import { h, svg } from './dom.js';
import { byUnit, compact, count, date, dateShort, monthOf, UNKNOWN, words } from './format.js';
import { csv } from './parts.js';
import { term } from './terms.js';

const DAY = 86_400;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const color = (line) => css('--c-' + line.color);

/** colors names the colours of lines that are not companies', in their order. */
export const colors = ['microsoft', 'amazon', 'tesla', 'meta', 'nvidia', 'alphabet', 'apple'];

const companies = new Set(colors);
/** colorOf is the colour of a company; those without one take the first free. */
export function colorsOf(names) {
  const free = colors.filter((c) => !names.includes(c));
  return names.map((name) => (companies.has(name) ? name : (free.shift() ?? 'other')));
}

/** swatch is the mark of a line in legends and tables. */
export const swatch = (name) => svg('svg', { class: 'swatch c-' + name, viewBox: '0 0 14 10', 'aria-hidden': 'true' }, svg('rect', { x: 0, y: 3, width: 14, height: 4, rx: 2 }));

/** indexed turns values into an index: the first that is known is 100. */
export function indexed(values) {
  const base = values.find((v) => v !== null);
  return values.map((v) => (v === null || !base ? null : (100 * v) / base));
}

/**
 * chart draws lines: {title, level, first (a day), lines: [{name, color, values, href}], unit,
 * field, text, source, height, bars, marks}. A mark {at, loud, text} stands over its day.
 * Its element removes what it listens to when it leaves the document.
 */
export function chart(options) {
  const { lines, unit } = options;
  const first = Date.parse(options.first) / 1000;
  const caption = h('figcaption', null,
    h(options.level ?? 'h2', null, h('button', { type: 'button', class: 'term', ...term(options.field, options.text) }, options.title)),
    h('span', { class: 'unit' }, words(unit)), options.tools, csv(options.source));
  if (lines.every((l) => l.values.every((v) => v === null))) {
    return h('figure', { class: 'chart' }, caption, h('p', { class: 'none' }, 'No day has a value.'));
  }
  const days = (lines[0]?.values ?? []).map((_, i) => first + i * DAY);
  const write = byUnit(unit);
  const marked = new Map();
  for (const m of options.marks ?? []) {
    const i = Math.floor((m.at - first) / DAY);
    if (i >= 0 && i < days.length) marked.set(i, [...(marked.get(i) ?? []), m]);
  }
  const happened = (i) => (marked.get(i) ?? []).map((m) => m.text).join(', ');
  const off = new Set();
  let plot;
  let at = null; // the day under the cursor

  const values = lines.map(() => h('span', { class: 'value' }));
  const when = h('span', { class: 'when' });
  const what = h('span', { class: 'what' });
  const spoken = h('p', { class: 'hidden', 'aria-live': 'polite' });
  const box = h('div', {
    class: 'plot', tabindex: 0, role: 'group',
    'aria-label': `${options.title}, ${lines.map((l) => l.name).join(', ')}. Left and right arrow keys read it day by day; the same numbers are in the table below.`,
  });
  const legend = h('div', { class: 'legend' }, when, lines.map((line, i) => {
    const body = [swatch(line.color), h('span', null, line.name), values[i]];
    if (lines.length === 1) return h('span', { class: 'key' }, body);
    return h('button', { type: 'button', class: 'key', 'aria-pressed': 'true', title: 'Show or hide this line', onclick: (e) => toggle(i, e.currentTarget) }, body);
  }), marked.size > 0 && what);

  const newest = (i) => lines[i].values.findLastIndex((v) => v !== null);
  function read() {
    for (const [i, line] of lines.entries()) {
      const j = at ?? newest(i);
      values[i].textContent = j < 0 ? UNKNOWN : write(line.values[j]);
    }
    when.textContent = at === null ? 'Newest' : date(days[at] * 1000);
    what.textContent = at === null ? `${marked.size === 1 ? '1 day' : marked.size + ' days'} with a signal` : happened(at);
  }

  function toggle(i, button) {
    off[off.has(i) ? 'delete' : 'add'](i);
    button.setAttribute('aria-pressed', String(!off.has(i)));
    plot?.setSeries(i + 1, { show: !off.has(i) });
  }

  function move(to) {
    at = Math.max(0, Math.min(days.length - 1, to));
    plot?.setCursor({ left: plot.valToPos(days[at], 'x'), top: 0 });
    read();
    spoken.textContent = `${date(days[at] * 1000)}: ` + lines.map((l) => `${l.name} ${l.values[at] === null ? 'not read' : write(l.values[at])}`).concat(happened(at) || []).join(', ');
  }

  box.addEventListener('keydown', (event) => {
    const from = at ?? days.length - 1;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 7, PageDown: from + 7, Home: 0, End: days.length - 1 }[event.key];
    if (to === undefined || !days.length) return;
    event.preventDefault();
    move(to);
  });

  function draw() {
    const width = Math.floor(box.clientWidth);
    if (!width) return;
    plot?.destroy();
    plot = new uPlot(settings({ ...options, width, days, off, write, marked, onCursor: (index) => { at = index; read(); } }), [days, ...lines.map((l) => l.values)], box);
    box.dataset.drawn = '';
    performance.mark('chart drawn');
  }

  const figure = h('figure', { class: 'chart' },
    caption,
    legend, box, spoken,
    h('details', { ontoggle: (e) => { if (e.target.open && !e.target.querySelector('table')) e.target.append(numbers(options.title, lines, days, write, marked.size > 0 && happened)); } }, h('summary', null, 'Numbers')));
  read();

  const size = new ResizeObserver(draw); // calls draw with the first layout too
  size.observe(box);
  const redraw = () => draw();
  window.addEventListener('themechange', redraw);
  const gone = new MutationObserver(() => {
    if (figure.isConnected) return;
    size.disconnect();
    gone.disconnect();
    window.removeEventListener('themechange', redraw);
    plot?.destroy();
  });
  queueMicrotask(() => gone.observe(document.getElementById('main'), { childList: true, subtree: true }));
  return figure;
}

function settings({ width, height, days, lines, unit, write, off, bars, marked, onCursor }) {
  const ink = css('--muted');
  const grid = { stroke: css('--line'), width: 1 };
  const labelled = width >= 640 && lines.length > 1;
  const font = '12px Inter, system-ui, sans-serif';
  const widest = labelled ? Math.min(150, Math.max(...lines.map((l) => textWidth(l.name, font)))) : 0;
  return {
    width, height: height ?? (width < 500 ? 220 : 280), legend: { show: false },
    padding: [marked.size ? 16 : 12, labelled ? widest + 18 : 10, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), 'Etc/UTC'),
    cursor: { y: false, points: { size: 7, width: 2 }, drag: { x: false, y: false } },
    scales: {
      x: { time: true, range: [days[0], days.at(-1)] },
      y: { range: (_, min, max) => span(min, max, unit === 'count/day' || bars) },
    },
    series: [{}, ...lines.map((line, i) => ({
      label: line.name, show: !off.has(i), stroke: color(line), width: 1.75, fill: bars ? color(line) + 'cc' : undefined,
      paths: bars ? uPlot.paths.bars({ size: [0.7, 14], align: 0 }) : undefined,
      spanGaps: false,
      points: bars ? { show: false } : { show: true, size: 4, fill: color(line), filter: alone },
    }))],
    axes: [
      { stroke: ink, font, grid: { show: false }, ticks: { stroke: grid.stroke, width: 1, size: 4 }, size: 32, gap: 4, space: 64, values: (_, ticks, __, ___, step) => ticks.map((t) => dayLabel(t, step)) },
      { stroke: ink, font, grid, ticks: { show: false }, size: (_, ticks) => Math.max(52, ...(ticks ?? []).map((t) => textWidth(t, font) + 12)), gap: 6, space: 40, values: (_, ticks) => ticks.map((v) => (Math.abs(v) < 10_000 ? (Number.isInteger(v) ? String(v).replace('-', '−') : write(v)) : ticks[1] - ticks[0] < 1000 && Math.abs(v) < 1e6 ? count(v) : compact(v))) },
    ],
    hooks: {
      drawClear: [(u) => shadeGaps(u, days, lines)],
      draw: [(u) => flag(u, days, marked), ...(labelled ? [(u) => label(u, lines, font)] : [])],
      setCursor: [(u) => onCursor(u.cursor.idx ?? null)],
    },
  };
}

let measure;
function textWidth(text, font) {
  measure ??= document.createElement('canvas').getContext('2d');
  measure.font = font;
  return measure.measureText(text).width;
}

function dayLabel(t, step) {
  if (step < 28 * DAY) return dateShort(t * 1000);
  const at = new Date(t * 1000);
  return at.getUTCMonth() === 0 ? String(at.getUTCFullYear()) : monthOf(at);
}

/** span leaves air above and below; rates show their zero. */
function span(min, max, zero) {
  if (min === null || max === null) return [0, 1];
  if (zero) [min, max] = [Math.min(0, min), Math.max(0, max)];
  const air = (max - min) * 0.06 || Math.abs(max) * 0.02 || 1;
  return [zero && min === 0 ? 0 : min - air, zero && max === 0 ? 0 : max + air];
}

/** alone finds the days with a value whose neighbours have none: no line reaches them. */
function alone(u, i) {
  const v = u.data[i];
  const found = [];
  for (let j = 0; j < v.length; j++) if (v[j] != null && v[j - 1] == null && v[j + 1] == null) found.push(j);
  return found;
}

/** shadeGaps marks the days on which nothing was read. */
function shadeGaps(u, days, lines) {
  const empty = (i) => i < days.length && lines.every((l) => l.values[i] === null);
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = css('--gap');
  for (let i = 0; i < days.length; i++) {
    if (!empty(i)) continue;
    const from = i;
    while (empty(i + 1)) i++;
    const left = Math.max(bbox.left, u.valToPos(days[from] - DAY / 2, 'x', true));
    const right = Math.min(bbox.left + bbox.width, u.valToPos(days[i] + DAY / 2, 'x', true));
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}

/** flag puts a mark over each day with a signal: a full one if it warns. */
function flag(u, days, marked) {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  const size = 4.5 * ratio;
  ctx.save();
  ctx.lineWidth = 1.5 * ratio;
  for (const [i, marks] of marked) {
    const x = u.valToPos(days[i], 'x', true);
    const loud = marks.some((m) => m.loud);
    const ink = css(loud ? '--down' : '--accent');
    ctx.globalAlpha = 0.4;
    ctx.fillStyle = ink;
    ctx.fillRect(x - ratio / 2, bbox.top, ratio, bbox.height);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = ink;
    ctx.fillStyle = loud ? ink : css('--surface');
    ctx.beginPath();
    ctx.moveTo(x - size, bbox.top - 2 * size);
    ctx.lineTo(x + size, bbox.top - 2 * size);
    ctx.lineTo(x, bbox.top);
    ctx.closePath();
    ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
}

/** label writes the name of each line at its end; names that would meet move apart. */
function label(u, lines, font) {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  const step = 15 * ratio;
  const ends = lines.flatMap((line, i) => {
    const last = line.values.findLastIndex((v) => v !== null);
    return u.series[i + 1].show && last >= 0 ? [{ line, y: u.valToPos(line.values[last], 'y', true) }] : [];
  }).sort((a, b) => a.y - b.y);
  for (let i = 1; i < ends.length; i++) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + step);
  let floor = bbox.top + bbox.height;
  for (const end of ends.toReversed()) {
    end.y = Math.min(end.y, floor);
    floor = end.y - step;
  }
  ctx.save();
  ctx.font = font.replace('12px', 12 * ratio + 'px');
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  for (const { line, y } of ends) {
    const x = bbox.left + bbox.width + 6 * ratio;
    ctx.fillStyle = color(line);
    ctx.fillRect(x, y - 4 * ratio, 3 * ratio, 8 * ratio);
    ctx.fillStyle = css('--ink');
    ctx.fillText(cut(ctx, line.name, 138 * ratio), x + 7 * ratio, y);
  }
  ctx.restore();
}

function cut(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  while (text && ctx.measureText(text + '…').width > width) text = text.slice(0, -1);
  return text + '…';
}

function numbers(title, lines, days, write, happened) {
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': title + ', numbers' },
    h('table', null,
      h('caption', { class: 'hidden' }, title),
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'Day'), lines.map((l) => h('th', { scope: 'col', class: 'num' }, l.name)), happened && h('th', { scope: 'col' }, 'Signals'))),
      h('tbody', null, days.map((day, i) => h('tr', null,
        h('th', { scope: 'row' }, date(day * 1000)),
        lines.map((l) => h('td', { class: 'num' }, l.values[i] === null ? 'not read' : write(l.values[i]))),
        happened && h('td', null, happened(i)))).reverse())));
}
