// Makes elements. Text becomes a text node and never markup, so nothing that GitHub or
// the API says can act; the Content-Security-Policy forbids every other way.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * h makes an element: h('p', {class: 'x', onclick: f}, 'text', child, [more]).
 * Attributes that are null, undefined or false are left out, true is an empty one.
 * A link leads into this page, to this server, or to GitHub.
 */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** svg is h for drawings. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'href') element.setAttribute('href', safe(String(value)));
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child); // a Node, or a text
  }
}

function safe(href) {
  if (/^([?#]|\/(?!\/))/.test(href) || href.startsWith('https://github.com/')) return href;
  throw new Error(`refuse a link to ${href}`);
}

/** github is the address of something on GitHub, by the parts of its path. */
export function github(...parts) {
  return 'https://github.com/' + parts.map(encodeURIComponent).join('/');
}
