// Says what a figure is: the definition appears on hover, focus and touch.
import { get } from './api.js';
import { words } from './format.js';

let definitions;

/** load reads the definitions, once. */
export function load() {
  definitions ??= get('definitions').then(
    (answer) => new Map(answer.data.map((d) => [d.name, d])),
    () => {
      definitions = undefined; // the next one who asks tries again
      return new Map();
    },
  );
  return definitions;
}

/** term gives the attributes of an element that explains a figure: a field's name, or
 * what the page itself shows, as text. */
export const term = (name, text) => (text ? { 'data-text': text } : name ? { 'data-term': name } : {});

let shownFor;

async function show(element) {
  const tip = document.getElementById('tip');
  shownFor = element;
  let { text, term: name } = element.dataset;
  let unit = '';
  if (!text) {
    const d = (await load()).get(name);
    if (!d || shownFor !== element) return;
    text = d.text;
    unit = d.unit && `${d.name} · ${words(d.unit)}`;
  }
  const small = document.createElement('small');
  small.textContent = unit || (name ?? '');
  tip.replaceChildren(text, small);
  tip.hidden = false;
  element.setAttribute('aria-describedby', 'tip');
  const at = element.getBoundingClientRect();
  const box = tip.getBoundingClientRect();
  const below = at.bottom + 8 + box.height < innerHeight;
  tip.style.left = Math.max(8, Math.min(at.left, innerWidth - box.width - 8)) + 'px';
  tip.style.top = (below ? at.bottom + 8 : Math.max(8, at.top - box.height - 8)) + 'px';
}

function hide() {
  shownFor?.removeAttribute('aria-describedby');
  shownFor = undefined;
  document.getElementById('tip').hidden = true;
}

/** explain makes all terms of the page, those to come too, show what they are. */
export function explain() {
  const of = (event) => event.target.closest?.('[data-term], [data-text]');
  for (const type of ['pointerover', 'focusin', 'click']) {
    document.addEventListener(type, (event) => {
      const element = of(event);
      if (!element && type !== 'click' && document.activeElement === shownFor) return;
      if (element === shownFor && element) return;
      hide();
      if (element && (type !== 'focusin' || element.matches(':focus-visible'))) show(element);
    });
  }
  document.addEventListener('pointerleave', hide);
  document.addEventListener('focusout', hide);
  document.addEventListener('scroll', hide, true);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') hide();
  });
}
