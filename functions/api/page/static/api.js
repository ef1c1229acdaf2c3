// Asks the API of this server.

/** Problem is what the API says is wrong. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const KEY = 'key'; // in sessionStorage: where the API asks for keys

export const key = () => sessionStorage.getItem(KEY);
export const useKey = (value) => sessionStorage.setItem(KEY, value);

/** path is that of a resource with its parameters; empty ones are left out. */
export function path(resource, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== '') query.set(name, value);
  }
  const text = query.toString();
  return '/api/v1/' + resource + (text && '?' + text);
}

/** segment is a name in a path. */
export const segment = (name) => encodeURIComponent(name);

async function ask(url, signal) {
  const headers = key() ? { Authorization: 'Bearer ' + key() } : {};
  for (let again = 2; ; again--) {
    const response = await fetch(url, { headers, signal });
    const wait = Number(response.headers.get('Retry-After'));
    if (![429, 503].includes(response.status) || !again || !wait || wait > 10) return response;
    await new Promise((resume) => setTimeout(resume, wait * 1000));
  }
}

/** get reads a resource: {as_of, complete, definitions, next, data}. */
export async function get(resource, parameters, signal) {
  const response = await ask(path(resource, parameters), signal);
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    const said = (problem.errors ?? []).map((e) => e.message).join('; ');
    throw new Problem(response.status, [problem.detail ?? response.statusText, said].filter(Boolean).join(': '));
  }
  return response.json();
}

/** save downloads a resource where a key is needed, which a link cannot carry. */
export async function save(url, name) {
  const response = await ask(url);
  if (!response.ok) throw new Problem(response.status, response.statusText);
  const object = URL.createObjectURL(await response.blob());
  const a = document.createElement('a');
  a.href = object;
  a.download = name;
  a.click();
  URL.revokeObjectURL(object);
}
