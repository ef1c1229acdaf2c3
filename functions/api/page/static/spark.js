// Small lines without axes, beside the number that they lead to.
import { svg } from './dom.js';

const WIDTH = 96;
const HEIGHT = 24;

/** spark draws values, null where nothing was read: there the line breaks. */
export function spark(values, color) {
  const known = values.filter((v) => v !== null);
  const picture = svg('svg', { class: 'spark' + (color ? ' c-' + color : ''), viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true', preserveAspectRatio: 'none' });
  if (known.length < 2) return picture;
  const low = Math.min(...known);
  const range = Math.max(...known) - low || 1;
  const x = (i) => ((i / (values.length - 1)) * (WIDTH - 2) + 1).toFixed(1);
  const y = (v) => (HEIGHT - 2 - ((v - low) / range) * (HEIGHT - 4)).toFixed(1);
  let path = '';
  let drawing = false;
  for (const [i, v] of values.entries()) {
    if (v !== null) path += `${drawing ? 'L' : 'M'}${x(i)} ${y(v)}${drawing ? '' : 'h.1'}`;
    drawing = v !== null;
  }
  picture.append(svg('path', { d: path, 'vector-effect': 'non-scaling-stroke' }));
  return picture;
}
