// Sets the theme before anything is drawn: the one chosen here before, or else the
// system's, which style.css follows by itself.
'use strict';
try {
  const chosen = localStorage.getItem('theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden: the system's theme holds.
}
