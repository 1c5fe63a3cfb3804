'use strict';
// Does with the page what a reader does, and tells the frame around it what was seen.
(() => {
  const errors = [];
  addEventListener('error', e => errors.push(String(e.message)));
  addEventListener('unhandledrejection', e => errors.push(String(e.reason)));
  addEventListener('securitypolicyviolation', e => errors.push('not allowed: ' + e.blockedURI));
  window.alert = text => errors.push('alert: ' + text);

  const one = selector => document.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const soon = () => new Promise(done => setTimeout(done, 400));

  /** The charts, with how much is drawn in each, and how wide. */
  const charts = () => all('.chart').map(div => ({
    section: div.closest('section').id,
    shown: !div.hidden,
    marks: all('path', div).length + all('canvas', div).length,
    width: div.clientWidth,
    drawn: div.firstElementChild ? div.firstElementChild.clientWidth : 0,
  }));

  const column = (table, i) => [...table.tBodies[0].rows].map(row => row.cells[i].dataset.v ?? row.cells[i].textContent);

  const choose = (section, label, value) => {
    const select = all(`#${section} label`).find(l => l.firstChild.textContent === label).querySelector('select');
    select.value = value;
    select.dispatchEvent(new Event('change'));
  };

  const tableOf = section => all(`#${section} .wide tr`).map(row => [...row.cells].map(c => c.textContent).join(' | '));

  /** What reaches beyond the page, and by how much: nothing but the insides of a table that scrolls. */
  const layout = () => ({
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    tables: all('.wide').filter(w => w.clientWidth > 0 && w.firstElementChild).map(w => ({
      hides: w.scrollWidth - w.clientWidth, bar: w.offsetHeight - w.clientHeight, overflow: getComputedStyle(w).overflowX,
    })),
  });

  async function visit() {
    const seen = { errors, theme: document.documentElement.dataset.theme, button: one('#theme').textContent };
    seen.charts = charts();
    seen.layout = layout();
    seen.runs = tableOf('runs');
    seen.runValues = all('#runs tbody tr').map(row => [...row.cells].map(c => c.dataset.v ?? c.textContent));

    one('#theme').click();
    seen.otherTheme = document.documentElement.dataset.theme;
    seen.otherCharts = charts();
    one('#theme').click();
    seen.themeAgain = document.documentElement.dataset.theme;

    const figures = one('#figures');
    if (figures.tBodies[0]?.rows.length) {
      const i = [...figures.tHead.rows[0].cells].findIndex(c => c.innerText.replace(/\s+/g, ' ') === 'guest ops/s');
      const button = figures.tHead.rows[0].cells[i].querySelector('button');
      button.click();
      seen.falling = column(figures, i);
      button.click();
      seen.rising = column(figures, i);
    }

    if (all('#latency .choices label').some(l => l.firstChild.textContent === 'Workload')) {
      seen.before = tableOf('latency');
      choose('latency', 'Workload', 'boot');
      seen.boot = tableOf('latency');
      choose('latency', 'Workload', '');
      seen.after = tableOf('latency');
      all('#latency .legend input').forEach(box => box.click());
      seen.unticked = one('#latency .empty').textContent;
      seen.untickedShown = !one('#latency .chart').hidden;
      all('#latency .legend input').forEach(box => box.click());
    }

    dispatchEvent(new Event('beforeprint'));
    seen.paper = charts();
    dispatchEvent(new Event('afterprint'));

    document.body.style.width = innerWidth * 0.8 + 'px';
    await soon();
    seen.narrowed = charts();
    return seen;
  }

  addEventListener('load', () => soon().then(visit).then(
    seen => parent.postMessage(JSON.stringify(seen), '*'),
    e => parent.postMessage(JSON.stringify({ errors: [...errors, String(e.stack)] }), '*')));
})();
