// Where one is: the view and all that was chosen in it, in the address. So every link
// leads to what its sender saw.

/** The defaults are left out of addresses. */
const defaults = { view: 'now', window: '7d', days: '90', mode: 'raw', kind: 'repository' };

/** current reads the address. */
export function current() {
  return { ...defaults, ...Object.fromEntries(new URLSearchParams(location.search)) };
}

/** address is that of a place: those of the present one that are kept, and others. */
export function address(place) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(place)) {
    if (value !== undefined && value !== null && value !== '' && (key === 'view' || String(value) !== defaults[key])) query.set(key, value);
  }
  // Names are easier to read with their slashes and commas, which a query may hold.
  return '?' + query.toString().replaceAll('%2F', '/').replaceAll('%2C', ',');
}

/** changed is the address of the present place with some things changed. */
export const changed = (parts) => address({ ...current(), ...parts });

const listeners = new Set();

/** onMove is called with each move to another place. */
export function onMove(listener) {
  listeners.add(listener);
  window.addEventListener('popstate', () => listener(current(), { back: true }));
}

/** go moves to an address of this page. */
export function go(to, options = {}) {
  if (to === location.search) options = { ...options, replace: true };
  history[options.replace ? 'replaceState' : 'pushState'](null, '', to);
  for (const listener of listeners) listener(current(), options);
}

/** note writes into the address what changed in the view without drawing it anew. */
export function note(parts) {
  history.replaceState(null, '', changed(parts));
}

export const repositoryAt = (name) => address({ view: 'repository', name });
export const companyAt = (name) => address({ view: 'company', name });
export const ownerAt = (name) => address({ view: 'owner', name });
