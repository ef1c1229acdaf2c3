// The page: its head, and the view that the address names.
import { Problem, useKey } from './api.js';
import { h, svg } from './dom.js';
import { finder } from './finder.js';
import { ago, date, time } from './format.js';
import { current, go, onMove, repositoryAt, address } from './place.js';
import { explain, load } from './terms.js';
import { compare } from './views/compare.js';
import { company, groups, owner } from './views/group.js';
import { health } from './views/health.js';
import { now } from './views/now.js';
import { repository, search } from './views/repository.js';

const views = {
  now: { label: 'Now', open: now },
  companies: { label: 'Companies', open: groups },
  company: { under: 'companies', open: company },
  owner: { under: 'companies', open: owner },
  repositories: { label: 'Repositories', open: search },
  repository: { under: 'repositories', open: repository },
  compare: { label: 'Compare', open: compare },
  health: { label: [h('span', { class: 'less' }, 'Data '), 'health'], open: health },
};
const RETRY = 3_000; // ms, while nothing has been read yet
const main = document.getElementById('main');

function menu(shown) {
  const chosen = views[shown]?.under ?? shown;
  document.getElementById('views').replaceChildren(...Object.entries(views).filter(([, v]) => v.label).map(([name, v]) =>
    h('a', { href: address({ view: name }), 'aria-current': name === chosen ? 'page' : null }, v.label)));
}

/** state says once how old the readings are, and how complete. */
function state({ as_of: at, complete, simulated }) {
  const line = document.getElementById('state');
  if (!at) return line.replaceChildren('Nothing has been read yet.');
  const age = `newest reading ${date(at)}, ${ago(at)} old`;
  const said = simulated ? ['Simulated data', `of repositories that never were; ${age}.`]
    : complete === null ? ['Recorded data', `${age}.`]
    : complete ? ['Live', `${age}; the last sweep of each owner saw all of it.`]
      : ['Live, incomplete', `${age}; the last sweep of an owner missed something: see Data health.`];
  line.replaceChildren(h('strong', { class: simulated || complete === false ? 'down' : null }, said[0]), ' · ', h('time', { datetime: at, title: time(at) }, said[1]));
}

let turn = new AbortController();
let again;

async function show(place, { stay = false, back = false, first = false } = {}) {
  turn.abort();
  clearTimeout(again);
  turn = new AbortController();
  const { signal } = turn;
  const view = views[place.view] ?? views.now;
  menu(place.view in views ? place.view : 'now');
  main.setAttribute('aria-busy', 'true');
  const focused = stay && focus();
  try {
    const { title, answer, content } = await view.open(place, signal);
    if (signal.aborted) return;
    document.title = title + ' · M7 Pulse';
    state(answer);
    main.replaceChildren(...[content].flat(Infinity).filter(Boolean));
    if (!answer.as_of) again = setTimeout(() => show(current(), { stay: true }), RETRY);
  } catch (problem) {
    if (signal.aborted || problem.name === 'AbortError') return;
    main.replaceChildren(...failed(problem));
  }
  main.removeAttribute('aria-busy');
  if (stay) restore(focused);
  else if (!first) {
    if (!back) scrollTo(0, 0);
    const heading = main.querySelector('h1');
    heading?.setAttribute('tabindex', '-1');
    heading?.focus({ preventScroll: true });
  }
  requestIdleCallback?.(load, { timeout: 2000 }) ?? load();
}

/** focus remembers what has the focus, by what it says, for it will be made anew. */
const focus = () => main.contains(document.activeElement) && [document.activeElement.tagName, document.activeElement.textContent, document.activeElement.getAttribute('aria-label')].join();

function restore(focused) {
  if (!focused) return;
  [...main.querySelectorAll('a, button, select, input, [tabindex]')].find((e) => [e.tagName, e.textContent, e.getAttribute('aria-label')].join() === focused)?.focus();
}

function failed(problem) {
  const retry = h('button', { type: 'button', class: 'button', onclick: () => show(current()) }, 'Try again');
  if (problem instanceof Problem && problem.status === 401) {
    const input = h('input', { type: 'password', 'aria-label': 'Key', autocomplete: 'off' });
    const form = h('form', { class: 'notice', onsubmit: (e) => { e.preventDefault(); useKey(input.value); show(current()); } },
      h('h1', null, 'This server asks for a key'), h('p', null, 'It stays in this tab until you close it.'), input, h('button', { class: 'button' }, 'Use it'));
    return [form];
  }
  if (!(problem instanceof Problem) && !(problem instanceof TypeError)) console.error(problem);
  const said = problem instanceof Problem ? problem.message : `No answer: ${problem.message}`;
  return [h('div', { class: 'notice', role: 'alert' }, h('h1', null, problem.status === 404 ? 'Not found' : 'No figures'), h('p', null, said), retry)];
}

function theme() {
  const button = document.getElementById('theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  const dark = () => (document.documentElement.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark';
  const drawing = svg('svg', { viewBox: '0 0 20 20', 'aria-hidden': 'true' }, svg('circle', { cx: 10, cy: 10, r: 7 }), svg('path', { d: 'M10 3a7 7 0 0 1 0 14z' }));
  const say = () => {
    button.setAttribute('aria-label', dark() ? 'Switch to the light theme' : 'Switch to the dark theme');
    window.dispatchEvent(new Event('themechange'));
  };
  button.append(drawing);
  button.addEventListener('click', () => {
    const to = dark() ? 'light' : 'dark';
    document.documentElement.dataset.theme = to;
    try {
      localStorage.setItem('theme', to);
    } catch {
      // Storage may be forbidden: the choice holds for this visit.
    }
    say();
  });
  system.addEventListener('change', say);
  say();
}

/** links of this page change the view without loading the page anew. */
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="?"]');
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.getAttribute('href'), { stay: 'stay' in link.dataset });
});

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault(); // a fragment in the address would be another place
  main.focus();
});
document.getElementById('find').append(finder({ label: 'Find a repository', placeholder: 'Find a repository  /', hotkey: '/', chosen: (name) => go(repositoryAt(name)) }));
theme();
explain();
onMove(show);
show(current(), { first: true });
