'use strict';
(() => {
  const { protocols, cells, bucketsPerOctave } = JSON.parse(document.getElementById('data').textContent);
  const root = document.documentElement;

  // Small tools.

  /** An element; children are elements or text, and text is never markup. */
  function element(tag, attributes = {}, ...children) {
    const e = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== false) {
        e.setAttribute(name, value === true ? '' : value);
      }
    }
    e.append(...children);
    return e;
  }

  const sum = (list, value) => list.reduce((n, x) => n + value(x), 0);
  const distinct = key => [...new Set(cells.map(r => r[key]))].sort(key === 'vcpus' ? (a, b) => a - b : () => 0);
  const vcpuCounts = distinct('vcpus');
  const named = n => n + (n === 1 ? ' vCPU' : ' vCPUs');
  const css = name => getComputedStyle(root).getPropertyValue('--' + name).trim();
  const isDark = () => root.dataset.theme === 'dark';
  const isNarrow = () => document.body.clientWidth < 600;

  // Numbers as people read them; as in the summary.

  function count(n) {
    let unit = 0;
    while (n >= 999.5 && unit < 6) {
      n /= 1000;
      unit++;
    }
    return unit === 0 ? n.toFixed(n === Math.round(n) ? 0 : 1) : n.toFixed(n < 99.95 ? 1 : 0) + ' ' + ' kMGTPE'[unit];
  }

  function percent(share) {
    const p = share * 100;
    return p === 0 ? '0' : p < 0.01 ? '<0.01%' : p.toFixed(p < 0.995 ? 2 : p < 99.95 ? 1 : 0) + '%';
  }

  function micros(us) {
    return us >= 99999.5 ? count(us) : us.toFixed(us < 0.995 ? 2 : us < 99.95 ? 1 : 0);
  }

  /** Microseconds with the unit that makes them short. */
  function duration(us) {
    const [n, unit] = us < 0.9995 ? [us * 1000, 'ns'] : us < 999.5 ? [us, 'µs'] : us < 999500 ? [us / 1000, 'ms'] : [us / 1e6, 's'];
    return Number(n.toPrecision(3)) + ' ' + unit;
  }

  const unitOf = text => text.match(/\D*$/)[0];

  /** A figure with its interval, if there is one: 1.4% (1.3–1.6%). */
  function withSpread(e, text) {
    if (Number.isNaN(e.low)) {
      return text(e.median);
    }
    const [low, high] = [text(e.low), text(e.high)];
    const unit = unitOf(high);
    return `${text(e.median)} (${unitOf(low) === unit ? low.slice(0, low.length - unit.length) : low}–${high})`;
  }

  // Figures over rounds: as in the summary, the median with a 99 % bootstrap interval.

  const MIN_ROUNDS = 5;
  const DRAWS = 4000;

  function median(sorted) {
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  const ranks = new Map();

  /** Which of n sorted values are in the middle of each draw; the draws are those of the summary (Estimate.java). */
  function drawnRanks(n) {
    if (!ranks.has(n)) {
      let state = 0x5eed;
      const random = () => {
        state = (state + 0x6D2B79F5) | 0;
        let t = Math.imul(state ^ (state >>> 15), state | 1);
        t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
        return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
      };
      ranks.set(n, Array.from({ length: DRAWS }, () => {
        const drawn = Array.from({ length: n }, random).sort((a, b) => a - b);
        return [drawn[(n - 1) >> 1], drawn[n >> 1]];
      }));
    }
    return ranks.get(n);
  }

  /** From the figures of the rounds; null if none is known. */
  function estimate(figures) {
    const known = figures.filter(v => !Number.isNaN(v)).sort((a, b) => a - b);
    if (known.length < MIN_ROUNDS) {
      return known.length === 0 ? null : { median: median(known), low: NaN, high: NaN };
    }
    const medians = Float64Array.from(drawnRanks(known.length), ([i, j]) => (known[i] + known[j]) / 2).sort();
    const cut = Math.floor(DRAWS * 0.005);
    return { median: median(known), low: medians[cut], high: medians[DRAWS - 1 - cut] };
  }

  /** A figure of some combinations in each of the rounds that all of them have. */
  function overRounds(list, figure) {
    const rounds = Math.min(...list.map(c => c.rounds.length));
    return estimate(Array.from({ length: rounds }, (_, i) => figure(list.map(c => c.rounds[i]))));
  }

  const share = (some, all) => (all === 0 ? NaN : some / all);
  const FIGURES = {
    guestOps: of => Math.exp(sum(of, r => Math.log(r.seconds > 0 ? r.guestOps / r.seconds : 0)) / of.length),
    firstLook: of => share(sum(of, r => r.mismatches), sum(of, r => r.looks)),
    doubled: of => sum(of, r => r.doubled) / of.length,
    falseBusy: of => share(sum(of, r => r.falseBusy), sum(of, r => r.falseBusy + r.converted)),
  };

  function bytes(n) {
    const unit = n === 0 ? 0 : Math.min(6, Math.floor(Math.log2(n) / 10));
    return Number((n / 2 ** (10 * unit)).toPrecision(4)) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'][unit];
  }

  // Looks. Nothing is told by colour alone: lines have dashes and markers, areas have patterns.

  const LOOKS = [
    { light: '#C74F0B', dark: '#C4671D', dash: [7, 3], marker: 'diamond' },
    { light: '#3E8F7C', dark: '#51D5B8', dash: [2, 3], marker: 'circle', hollow: true },
    { light: '#65390C', dark: '#F0E442', dash: [10, 3, 2, 3], marker: 'triangle' },
    { light: '#7C79E8', dark: '#8E9BFF', dash: [4, 2], marker: 'rect', hollow: true },
    { light: '#116A7E', dark: '#BD9900', dash: [12, 4], marker: 'triangle', hollow: true },
    { light: '#6F3CF9', dark: '#C65AB3', dash: [1, 3], marker: 'rect' },
    { light: '#1433AE', dark: '#6E76FF', dash: [8, 3, 2, 3, 2, 3], marker: 'diamond', hollow: true },
    { light: '#000000', dark: '#FFFFFF', dash: 'solid', marker: 'circle' },
  ];
  const MARKERS = {
    circle: 'M5 0A5 5 0 1 0 5 10A5 5 0 1 0 5 0Z',
    rect: 'M.5 .5H9.5V9.5H.5Z',
    triangle: 'M5 0L10 9.5H0Z',
    diamond: 'M5 0L10 5L5 10L0 5Z',
  };
  /** The shipped protocols have their own; others get what none of those looks like. */
  const look = ({ look: i }) => (i < LOOKS.length ? LOOKS[i] : {
    ...LOOKS[i % LOOKS.length], marker: LOOKS[(i + 2) % LOOKS.length].marker, dash: LOOKS[(i + 3) % LOOKS.length].dash,
  });
  const colour = l => (isDark() ? l.dark : l.light);

  function lineSwatch(l) {
    const dash = Array.isArray(l.dash) ? ` stroke-dasharray="${l.dash.join(' ')}"` : '';
    const fill = l.hollow ? css('card') : colour(l);
    const holder = element('span', { 'aria-hidden': true });
    holder.innerHTML = `<svg width="44" height="14" viewBox="0 0 44 14"><path d="M0 7H44" stroke="${colour(l)}" stroke-width="2"${dash}/>`
      + `<g transform="translate(17 2)"><path d="${MARKERS[l.marker]}" fill="${fill}" stroke="${colour(l)}" stroke-width="1.6"/></g></svg>`;
    return holder.firstChild;
  }

  /** A tile for areas: a background with a pattern on it. */
  function tile(background, ink, pattern) {
    const size = 8;
    const canvas = element('canvas', { width: size, height: size });
    const g = canvas.getContext('2d');
    g.fillStyle = background;
    g.fillRect(0, 0, size, size);
    g.strokeStyle = g.fillStyle = ink;
    g.lineWidth = 1.3;
    const lines = (...ends) => ends.forEach(([x1, y1, x2, y2]) => {
      g.beginPath();
      g.moveTo(x1, y1);
      g.lineTo(x2, y2);
      g.stroke();
    });
    const rising = [[-2, 2, 2, -2], [-1, 9, 9, -1], [6, 10, 10, 6]];
    const falling = rising.map(([x1, y1, x2, y2]) => [size - x1, y1, size - x2, y2]);
    ({
      plain: () => {},
      rising: () => lines(...rising),
      dots: () => [[2, 2], [6, 6]].forEach(([x, y]) => {
        g.beginPath();
        g.arc(x, y, 1.2, 0, 7);
        g.fill();
      }),
      level: () => lines([0, 2, 8, 2], [0, 6, 8, 6]),
      falling: () => lines(...falling),
      crossed: () => lines(...rising, ...falling),
    })[pattern]();
    return canvas;
  }

  const PATTERNS = ['plain', 'rising', 'dots', 'level', 'crossed', 'falling'];

  /** From light to dark, or the other way round in the dark: more vCPUs stand out more. */
  function vcpuTiles() {
    const [from, to] = isDark() ? [[52, 92, 138], [196, 226, 255]] : [[158, 202, 240], [10, 58, 110]];
    return vcpuCounts.map((n, i) => {
      const share = vcpuCounts.length === 1 ? 0.6 : i / (vcpuCounts.length - 1);
      const mix = from.map((c, j) => Math.round(c + (to[j] - c) * share));
      const isLight = mix[0] * 0.3 + mix[1] * 0.6 + mix[2] * 0.1 > 125;
      return tile(`rgb(${mix})`, isLight ? 'rgba(0,20,50,.75)' : 'rgba(255,255,255,.75)', PATTERNS[i % PATTERNS.length]);
    });
  }

  const STATES = ['hole', 'accessible', 'inaccessible', 'busy'];

  function stateTiles() {
    return isDark()
      ? [tile('#1d2027', '#3b414c', 'dots'), tile('#3f7fb5', '', 'plain'), tile('#0c2c4d', '#5f8db8', 'rising'), tile('#f0b429', '#3a2500', 'crossed')]
      : [tile('#f7f7f8', '#c3c8d0', 'dots'), tile('#a6d3f5', '', 'plain'), tile('#0b4f8a', '#6fa6d6', 'rising'), tile('#f2a900', '#4a2f00', 'crossed')];
  }

  const areaSwatch = canvas => element('span', { class: 'swatch', 'aria-hidden': true, style: `background-image:url(${canvas.toDataURL()})` });
  const areaLegend = (section, names, tiles) =>
    part(section, 'legend').replaceChildren(...names.map((name, i) => element('span', {}, areaSwatch(tiles[i]), name)));

  // Parts of the page.

  const part = (section, name) => section.querySelector('.' + name);
  const redraws = [];

  function onEveryDraw(draw) {
    redraws.push(draw);
    draw();
  }

  /** What the reader can choose among; a dimension with one value is no choice. */
  const DIMENSIONS = { protocol: 'Protocol', workload: 'Workload', vcpus: 'vCPUs', policy: 'Policy', memory: 'Memory', discard: 'Discard', pins: 'Device pins' };

  /** The policy with which the protocols compare fairly: any if all ran with the same ones, else the most usual. */
  function fairPolicy() {
    const policies = distinct('policy');
    const ran = (policy, p) => ofProtocol(p, cells).filter(r => r.policy === policy).length;
    return policies.every(policy => protocols.every(p => ran(policy, p) === ran(policy, protocols[0]))) ? ''
      : policies.reduce((a, b) => (cells.filter(r => r.policy === b).length > cells.filter(r => r.policy === a).length ? b : a));
  }

  /** Puts selectors into a section, all to be chosen if it starts with a run; gives a function for the runs that fit. */
  function choices(section, keys, start, changed) {
    const chosen = {};
    for (const key of keys) {
      const values = distinct(key);
      if (values.length < 2) {
        continue;
      }
      const select = element('select', {});
      if (!start) {
        select.append(element('option', { value: '' }, 'all together'));
      }
      values.forEach(v => select.append(element('option', { value: v }, String(v))));
      const fair = section.id === 'leaks' ? '' : key === 'policy' ? fairPolicy() : key === 'memory' ? 'in-place' : '';
      select.value = chosen[key] = start ? String(start[key]) : fair;
      select.addEventListener('change', () => {
        chosen[key] = select.value;
        changed();
      });
      part(section, 'choices').append(element('label', {}, DIMENSIONS[key], select));
    }
    return () => cells.filter(r => Object.entries(chosen).every(([key, value]) => value === '' || String(r[key]) === value));
  }

  /** A table from heads and rows of cells: text, or [text, number to sort by], or elements. */
  function table(heads, rows) {
    const body = element('tbody');
    for (const cells of rows) {
      body.append(element('tr', {}, ...cells.map((cell, i) => {
        const [text, value] = Array.isArray(cell) ? cell : [cell, undefined];
        return i === 0 ? element('th', { scope: 'row' }, text)
          : element('td', { 'data-v': value, class: value === undefined && typeof text === 'string' ? 'text' : false }, text);
      })));
    }
    const isText = i => rows.length > 0 && typeof rows[0][i] === 'string';
    return element('table', {},
      element('thead', {}, element('tr', {}, ...heads.map((h, i) => element('th', { scope: 'col', class: isText(i) && 'text' }, h)))), body);
  }

  /** Makes the heads buttons that sort: numbers from the greatest, text from A. */
  function sortable(t) {
    const heads = [...t.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = element('button', { type: 'button', title: head.title }, ...head.childNodes);
      head.replaceChildren(button);
      button.addEventListener('click', () => {
        const rows = [...t.tBodies[0].rows];
        const numeric = rows.some(r => r.cells[column].dataset.v !== undefined);
        const down = head.ariaSort ? head.ariaSort === 'ascending' : numeric;
        heads.forEach(h => h.removeAttribute('aria-sort'));
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const key = r => (numeric ? Number(r.cells[column].dataset.v) : r.cells[column].textContent);
        const order = (a, b) => (numeric ? key(a) - key(b) : key(a).localeCompare(key(b)));
        rows.sort((a, b) => (down ? order(b, a) : order(a, b)));
        t.tBodies[0].append(...rows);
      });
    });
    return t;
  }

  /** Shows a chart and gives it, or says why there is none. */
  function show(section, option, renderer, whyNot) {
    const div = part(section, 'chart');
    let empty = part(section, 'empty');
    if (!empty) {
      empty = element('p', { class: 'empty', role: 'status' });
      div.after(empty);
    }
    echarts.getInstanceByDom(div)?.dispose();
    div.hidden = !option;
    empty.hidden = Boolean(option);
    empty.textContent = whyNot;
    if (!option) {
      return undefined;
    }
    const chart = echarts.init(div, null, { renderer });
    chart.setOption({
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: css('ink') },
      ...option,
    });
    return chart;
  }

  function axis(more) {
    return {
      nameTextStyle: { color: css('soft'), fontSize: 12 },
      axisLabel: { color: css('soft'), fontSize: 12 },
      axisLine: { show: true, lineStyle: { color: css('line') } },
      axisTick: { lineStyle: { color: css('line') } },
      splitLine: { lineStyle: { color: css('grid') } },
      minorSplitLine: { show: false },
      ...more,
    };
  }

  const tooltip = more => ({
    backgroundColor: css('card'),
    borderColor: css('line'),
    textStyle: { color: css('ink'), fontSize: 13 },
    confine: true,
    ...more,
  });

  const lines = (head, ...rest) => element('div', {}, element('b', {}, head), ...rest.map(line => element('div', {}, line)));
  const unsoundMark = () => element('span', { class: 'mark' }, 'unsound');
  const rowHead = p => (p.sound ? p.id : element('span', {}, p.id, unsoundMark()));
  const ofProtocol = (p, list) => list.filter(r => r.protocol === p.id);

  // How long a conversion takes.

  /** Latencies of some runs as one: buckets in order, how many there are, the greatest. */
  function merged(list) {
    const counts = new Map();
    for (const run of list) {
      let bucket = 0;
      for (let i = 0; i < run.latency.length; i += 2) {
        bucket += run.latency[i];
        counts.set(bucket, (counts.get(bucket) || 0) + run.latency[i + 1]);
      }
    }
    return {
      buckets: [...counts].sort((a, b) => a[0] - b[0]),
      total: sum([...counts.values()], n => n),
      max: Math.max(0, ...list.map(r => r.longest)) / 1000,
    };
  }

  /** The value in µs that a share of all is not above. */
  function valueAt(latency, share) {
    let left = Math.max(1, Math.ceil(share * latency.total - 1e-9));
    for (const [bucket, n] of latency.buckets) {
      left -= n;
      if (left <= 0) {
        return Math.min(latency.max, 2 ** ((bucket + 0.5) / bucketsPerOctave) / 1000);
      }
    }
    return latency.max;
  }

  /** A percentile is told only if so many values are beyond it. */
  const BEYOND = 10;
  const reaches = (latency, share) => latency.total * (1 - share) >= BEYOND - 1e-9;

  /** Points of a percentile curve: x is 1 / (1 - share), three to an octave, as far as they can be told. */
  function curve(latency) {
    const points = [];
    for (let k = 0; reaches(latency, 1 - 2 ** (-k / 3)); k++) {
      points.push([2 ** (k / 3), valueAt(latency, 1 - 2 ** (-k / 3))]);
    }
    return points;
  }

  const percentile = x => (x <= 1 ? '0%' : Number((100 * (1 - 1 / x)).toFixed(Math.max(0, Math.ceil(Math.log10(x)) - 2 + (Math.log10(x) % 1 ? 1 : 0)))) + '%');

  const isDecade = v => Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9;

  /** The ends of a logarithmic axis: near the values if they are far apart, else at powers of ten. */
  function around(least, greatest) {
    return greatest / least > 50 ? [least * 0.8, greatest * 1.25]
      : [10 ** Math.floor(Math.log10(least) - 1e-9), 10 ** Math.ceil(Math.log10(greatest) + 1e-9)];
  }

  /** Writes the names of lines to the right of their ends, in the order of the ends and none over another. */
  function nameLines(chart, ends) {
    const right = chart.getWidth() - 116;
    const height = 15;
    const names = ends.map(({ p, end }) => {
      const [x, y] = chart.convertToPixel({ gridIndex: 0 }, end);
      return { p, x, y, at: y };
    }).sort((a, b) => a.y - b.y);
    const lowest = chart.getHeight() - 44;
    names.forEach((name, i) => {
      name.at = Math.max(name.at, i ? names[i - 1].at + height : 0);
    });
    for (let i = names.length - 1, floor = lowest; i >= 0; i--) {
      names[i].at = Math.min(names[i].at, floor);
      floor = names[i].at - height;
    }
    chart.setOption({
      graphic: names.flatMap(({ p, x, y, at }) => [
        { type: 'polyline', silent: true, shape: { points: [[x + 6, y], [right - 6, y], [right + 2, at]] }, style: { stroke: colour(look(p)), lineWidth: 1, opacity: 0.45, fill: 'none' } },
        { type: 'text', silent: true, x: right + 6, y: at, style: { text: p.id, width: 110, overflow: 'truncate', fill: colour(look(p)), verticalAlign: 'middle', fontSize: 12, fontFamily: getComputedStyle(document.body).fontFamily } },
      ]),
    });
  }

  {
    const section = document.getElementById('latency');
    const hidden = new Set();
    const draw = () => {
      part(section, 'legend').replaceChildren(...protocols.map(p => {
        const box = element('input', { type: 'checkbox', checked: !hidden.has(p.id) });
        box.addEventListener('change', () => {
          hidden[box.checked ? 'delete' : 'add'](p.id);
          drawChart();
        });
        return element('label', {}, box, lineSwatch(look(p)), p.sound ? p.id : p.id + ' (unsound)');
      }));
      drawChart();
    };
    const drawChart = () => {
      const list = fitting();
      const all = protocols.map(p => ({ p, latency: merged(ofProtocol(p, list)) }));
      const shown = all.filter(({ p, latency }) => reaches(latency, 0.5) && !hidden.has(p.id));
      const narrow = isNarrow();
      const most = Math.max(10, ...shown.map(s => s.latency.total / BEYOND));
      const curves = shown.map(s => curve(s.latency));
      const values = curves.flat().map(([, v]) => v);
      const [low, high] = around(Math.min(...values), Math.max(...values));
      const chart = show(section, shown.length > 0 && {
        grid: { left: 62, right: narrow ? 14 : 122, top: 26, bottom: 44 },
        tooltip: tooltip({
          trigger: 'axis',
          axisPointer: { lineStyle: { color: css('soft') } },
          formatter: items => lines(
            percentile(items[0].data[0]) + ' took no longer than',
            ...items.sort((a, b) => b.data[1] - a.data[1]).map(i => `${i.seriesName}: ${duration(i.data[1])}`)),
        }),
        xAxis: axis({
          type: 'log', min: 1, max: most, name: 'share of the conversions', nameLocation: 'middle', nameGap: 28,
          axisLabel: { color: css('soft'), fontSize: narrow ? 10 : 12, formatter: percentile, hideOverlap: true, showMaxLabel: isDecade(most) },
        }),
        yAxis: axis({ type: 'log', min: low, max: high, axisLabel: { color: css('soft'), fontSize: 12, formatter: duration, showMinLabel: isDecade(low), showMaxLabel: isDecade(high) } }),
        series: shown.map(({ p }, i) => {
          const l = look(p);
          const points = curves[i];
          return {
            type: 'line', name: p.id, data: points,
            symbol: (v, { dataIndex }) => (dataIndex % 6 === (p.look * 2) % 6 || points.length < 4 ? 'path://' + MARKERS[l.marker] : 'none'),
            symbolSize: 9, showAllSymbol: true,
            itemStyle: { color: l.hollow ? css('card') : colour(l), borderColor: colour(l), borderWidth: 1.6 },
            lineStyle: { color: colour(l), width: l.dash === 'solid' ? 3 : 2, type: l.dash },
            emphasis: { disabled: true },
            markLine: i > 0 ? undefined : {
              silent: true, symbol: 'none', lineStyle: { color: css('soft'), type: [2, 4], width: 1 },
              label: { formatter: '50%', color: css('soft'), fontSize: 12 }, data: [{ xAxis: 2 }],
            },
          };
        }),
      }, 'svg', list.length === 0 ? 'No run with these choices.' : hidden.size === protocols.length ? 'No protocol is ticked.' : 'Fewer than 20 conversions to inaccessible succeeded in these runs.');
      if (chart && !narrow) {
        nameLines(chart, shown.map(({ p }, i) => ({ p, end: curves[i][curves[i].length - 1] })));
      }
      const shares = [0.5, 0.9, 0.99, 0.999, 0.9999];
      part(section, 'wide').replaceChildren(sortable(table(
        ['protocol', 'conversions', ...shares.map(s => percentile(1 / (1 - s)) + ' µs'), 'longest µs'],
        all.map(({ p, latency }) => [
          rowHead(p), [count(latency.total), latency.total],
          ...shares.map(s => (reaches(latency, s) ? [micros(valueAt(latency, s)), valueAt(latency, s)] : ['-', -1])),
          latency.total ? [micros(latency.max), latency.max] : ['-', -1],
        ]))));
    };
    const fitting = choices(section, ['workload', 'vcpus', 'policy', 'memory', 'discard', 'pins'], null, drawChart);
    onEveryDraw(draw);
  }

  // Bars by protocol and number of vCPUs, with whiskers from end to end of the interval.

  function whiskers(values, i, text) {
    return {
      type: 'custom', name: named(vcpuCounts[i]), silent: true, z: 3,
      data: values.map((v, row) => (v ? [v.median, row, Number.isNaN(v.low) ? v.median : v.low, Number.isNaN(v.high) ? v.median : v.high] : [NaN, row, NaN, NaN])),
      encode: { x: [0, 2, 3], y: 1 },
      renderItem: (params, api) => {
        const row = api.value(1);
        if (!values[row]) {
          return undefined;
        }
        const bar = api.barLayout({ barMaxWidth: 13, barGap: '12%', barCategoryGap: 16, count: vcpuCounts.length })[i];
        const y = api.coord([0, row])[1] + bar.offsetCenter;
        const [from, to] = [api.coord([api.value(2), row])[0], api.coord([api.value(3), row])[0]];
        const line = (x1, y1, x2, y2) => ({ type: 'line', shape: { x1, y1, x2, y2 }, style: { stroke: css('ink'), lineWidth: 1.4 } });
        return {
          type: 'group',
          children: [
            ...(to - from >= 1 ? [line(from, y, to, y), line(from, y - 3, from, y + 3), line(to, y - 3, to, y + 3)] : []),
            { type: 'text', x: to + 5, y, style: { text: text(values[row].median), fill: css('ink'), fontSize: 11, verticalAlign: 'middle', fontFamily: getComputedStyle(document.body).fontFamily } },
          ],
        };
      },
    };
  }

  /** The axis ends at the least at a given value, so that what is next to nothing looks like it. */
  function bars(id, name, figure, text, axisText, least) {
    const section = document.getElementById(id);
    const draw = () => {
      const list = fitting();
      const tiles = vcpuTiles();
      const groups = protocols.map(p => ({
        p,
        values: vcpuCounts.map(n => {
          const own = ofProtocol(p, list).filter(r => r.vcpus === n);
          return own.length ? overRounds(own, figure) : null;
        }),
      })).filter(g => g.values.some(v => v !== null));
      areaLegend(section, vcpuCounts.map(named), tiles);
      part(section, 'chart').style.height = groups.length * (vcpuCounts.length * 15 + 16) + 60 + 'px';
      const label = v => (v === null ? 'not run' : withSpread(v, text));
      show(section, groups.length > 0 && {
        grid: { left: 106, right: isNarrow() ? 44 : 58, top: 6, bottom: 44 },
        tooltip: tooltip({
          trigger: 'axis',
          axisPointer: { type: 'shadow', shadowStyle: { color: css('hover') }, z: 0 },
          formatter: items => lines(items[0].name.replace('\n', ' '), ...items.filter(i => i.seriesType === 'bar').map(i => `${i.seriesName}: ${label(groups[i.dataIndex].values[i.seriesIndex])}`)),
        }),
        xAxis: axis({ type: 'value', name, nameLocation: 'middle', nameGap: 28, min: 0, max: ({ max }) => (max < least ? least : null), splitNumber: isNarrow() ? 2 : 4,
          axisLabel: { color: css('soft'), fontSize: 12, formatter: axisText, hideOverlap: true } }),
        yAxis: axis({
          type: 'category', inverse: true, data: groups.map(({ p }) => (p.sound ? p.id : p.id + '\n(unsound)')), axisTick: { show: false },
          axisLabel: { color: css('ink'), fontSize: 12, lineHeight: 15, interval: 0, width: 98, overflow: 'truncate' },
        }),
        series: [
          ...vcpuCounts.map((n, i) => ({
            type: 'bar', name: named(n), data: groups.map(g => g.values[i]?.median ?? null), barMaxWidth: 13, barGap: '12%', barCategoryGap: 16,
            itemStyle: { color: { image: tiles[i], repeat: 'repeat' }, borderColor: css('soft'), borderWidth: 0.5 },
            emphasis: { disabled: true },
          })),
          ...vcpuCounts.map((n, i) => whiskers(groups.map(g => g.values[i]), i, text)),
        ],
      }, 'svg', list.length ? 'Nothing to show: these runs have converted nothing.' : 'No run with these choices.');
      part(section, 'wide').replaceChildren(sortable(table(
        ['protocol', ...vcpuCounts.map(named)],
        groups.map(g => [rowHead(g.p), ...g.values.map(v => (v === null ? ['-', -1] : [withSpread(v, text), v.median]))]))));
    };
    const fitting = choices(section, ['workload', 'policy', 'memory', 'discard', 'pins'], null, draw);
    onEveryDraw(draw);
  }

  const LEAST_SHARE = 0.05;
  const axisPercent = v => Number((v * 100).toPrecision(3)) + '%';
  bars('firstlook', 'first looks that failed though no holder was in the way', FIGURES.firstLook, percent, axisPercent, LEAST_SHARE);
  bars('busy', 'refused though no holder was in the way', FIGURES.falseBusy, percent, axisPercent, LEAST_SHARE);
  bars('throughput', 'guest operations per second', FIGURES.guestOps, count, count, 1);

  // Leaks.

  {
    const section = document.getElementById('leaks');
    const workloads = distinct('workload');
    const draw = () => {
      const list = fitting();
      const t = element('table', { class: 'matrix' },
        element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, 'protocol'), ...workloads.map(w => element('th', { scope: 'col' }, w)))),
        element('tbody', {}, ...protocols.map(p => element('tr', {}, element('th', { scope: 'row' }, rowHead(p)), ...workloads.map(w => {
          const own = ofProtocol(p, list).filter(r => r.workload === w);
          const leaks = sum(own, r => r.leaks);
          if (own.length === 0) {
            return element('td', { class: 'none' }, 'not run');
          }
          if (leaks === 0) {
            return element('td', { class: 'zero' }, '0');
          }
          return element('td', { class: p.sound ? 'leak wrong' : 'leak', title: own.find(r => r.leaks > 0).firstLeak },
            (p.sound ? '✗ ' : '') + count(leaks));
        })))));
      part(section, 'wide').replaceChildren(cells.length ? t : element('p', { class: 'empty' }, 'Nothing was measured.'));
    };
    const fitting = choices(section, ['vcpus', 'policy', 'memory', 'discard', 'pins'], null, draw);
    draw();
  }

  // The map of the guest's pages.

  {
    const section = document.getElementById('map');

    /** Two bits a cell, column by column. */
    function cellsOf(map) {
      const packed = Uint8Array.from(atob(map.cells), c => c.charCodeAt(0));
      return (x, y) => (packed[(x * map.rows + y) >> 2] >> (((x * map.rows + y) & 3) * 2)) & 3;
    }

    const draw = () => {
      const run = fitting()[0];
      const map = run?.map;
      const drawn = map?.rows > 0;
      const tiles = stateTiles();
      const width = drawn ? map.millis.length : 0;
      const cell = drawn && cellsOf(map);
      const times = drawn ? [...map.millis, map.millis[width - 1] + (width > 1 ? (map.millis[width - 1] - map.millis[0]) / (width - 1) : 1)] : [];
      // A shape for each stretch of time in which a row stays as it is.
      const stretches = STATES.map(() => []);
      for (let y = 0; drawn && y < map.rows; y++) {
        for (let x = 0, from = 0; x < width; x++) {
          if (x + 1 === width || cell(x + 1, y) !== cell(x, y)) {
            stretches[cell(x, y)].push([times[from], times[x + 1], y]);
            from = x + 1;
          }
        }
      }
      areaLegend(section, STATES, tiles);
      const end = drawn ? times[width] : 0;
      const time = ms => (end >= 1000 ? Number((ms / 1000).toPrecision(3)) + ' s' : Number(ms.toPrecision(3)) + ' ms');
      const ticks = drawn ? Math.max(1, Math.ceil(map.rows / 8)) : 1;
      show(section, drawn && {
        grid: { left: 74, right: 18, top: 8, bottom: 44 },
        tooltip: tooltip({
          formatter: ({ seriesName, data: [from, to, y] }) => lines(seriesName,
            `memory ${bytes(y * map.bytesPerRow)} to ${bytes((y + 1) * map.bytesPerRow)}`, `time ${time(from)} to ${time(to)}`),
        }),
        xAxis: axis({ type: 'value', min: times[0], max: end, name: 'time from the start', nameLocation: 'middle', nameGap: 28, splitNumber: isNarrow() ? 3 : 6, splitLine: { show: false },
          axisLabel: { color: css('soft'), fontSize: 12, formatter: time, hideOverlap: true, showMaxLabel: false } }),
        yAxis: axis({ type: 'value', min: 0, max: map.rows, interval: ticks, splitLine: { show: false },
          axisLabel: { color: css('soft'), fontSize: 12, formatter: y => bytes(y * map.bytesPerRow), showMaxLabel: map.rows % ticks === 0 } }),
        series: STATES.map((name, state) => ({
          type: 'custom', name, data: stretches[state], encode: { x: [0, 1], y: 2 }, progressive: 0, clip: true,
          renderItem: (params, api) => {
            const [x1, y1] = api.coord([api.value(0), api.value(2)]);
            const [x2, y2] = api.coord([api.value(1), api.value(2) + 1]);
            return {
              type: 'rect',
              shape: { x: Math.floor(x1), y: Math.floor(y2), width: Math.ceil(x2) - Math.floor(x1), height: Math.ceil(y1) - Math.floor(y2) },
              style: { fill: { image: tiles[state], repeat: 'repeat' } },
              emphasisDisabled: true,
            };
          },
        })),
      }, 'canvas', run ? 'This run recorded no map.' : 'No run with these choices.');
      part(section, 'wide').replaceChildren(drawn ? shares(map, cell, times, time) : '');
    };

    /** What the pages are at some moments. */
    function shares(map, cell, times, time) {
      const width = map.millis.length;
      const moments = [...new Set([...Array(9).keys()].map(i => Math.round((i / 8) * (width - 1))))];
      return table(['time', ...STATES], moments.map(x => {
        const counts = STATES.map(() => 0);
        for (let y = 0; y < map.rows; y++) {
          counts[cell(x, y)]++;
        }
        return [time(times[x]), ...counts.map(n => [percent(n / map.rows), n])];
      }));
    }

    const most = Math.max(...vcpuCounts);
    const last = protocols.length ? protocols[protocols.length - 1].id : '';
    const start = cells.find(r => r.protocol === last && r.vcpus === most && r.map.rows > 0) || cells.find(r => r.map.rows > 0) || cells[0];
    const fitting = choices(section, Object.keys(DIMENSIONS), start, draw);
    onEveryDraw(draw);
  }

  // All combinations.

  {
    const number = (head, key) => [head, r => [count(r[key]), r[key]]];
    const spread = (head, figure, text) => [head, r => {
      const e = overRounds([r], figure);
      return e ? [withSpread(e, text), e.median] : ['-', -1];
    }];
    const spreadOfTwo = (head, figure, text) => [head, r => (r.memory === 'two' ? spread(head, figure, text)[1](r) : ['-', -1])];
    const latency = (head, share) => [head, r => {
      const all = merged([r]);
      return reaches(all, share) ? [micros(valueAt(all, share)), valueAt(all, share)] : ['-', -1];
    }];
    const columns = [
      ['protocol', r => rowHead(protocols.find(p => p.id === r.protocol))],
      ['workload', r => r.workload],
      ['policy', r => r.policy],
      ['memory', r => r.memory],
      ['discard', r => r.discard],
      ['device pins', r => r.pins],
      number('vCPUs', 'vcpus'),
      ['rounds', r => [count(r.rounds.length), r.rounds.length]],
      number('made private', 'toInaccessible'),
      number('made shared', 'toAccessible'),
      number('refused held', 'held'),
      number('false busy', 'falseBusy'),
      number('refused shared', 'refusedShared'),
      number('gave up', 'gaveUp'),
      number('leaks', 'leaks'),
      number('retries', 'retries'),
      spread('guest ops/s', FIGURES.guestOps, count),
      spread('first-look mismatch', FIGURES.firstLook, percent),
      spread('false rate', FIGURES.falseBusy, percent),
      latency('p50 µs', 0.5),
      latency('p99 µs', 0.99),
      ['longest µs', r => (r.longest ? [micros(r.longest / 1000), r.longest] : ['-', -1])],
      number('guest faults', 'guestFaults'),
      number('host faults', 'hostFaults'),
      number('SIGBUS', 'sigbus'),
      spreadOfTwo('doubled mean', FIGURES.doubled, bytes),
      ['doubled peak', r => (r.memory === 'two' ? [bytes(r.doubledPeak), r.doubledPeak] : ['-', -1])],
      number('content changed', 'corruptions'),
      number('frames leaked', 'framesLeaked'),
    ];
    part(document.getElementById('runs'), 'wide').replaceChildren(
      sortable(table(columns.map(c => c[0]), cells.map(r => columns.map(c => c[1](r))))));
  }

  sortable(document.getElementById('figures'));
  sortable(document.getElementById('totals'));
  document.querySelectorAll('#monitors, #protocols-of-two').forEach(sortable);

  // The theme, the width, and paper.

  const button = document.getElementById('theme');
  function setTheme(theme) {
    root.dataset.theme = theme;
    button.textContent = theme === 'dark' ? 'Light theme' : 'Dark theme';
    redraws.forEach(draw => draw());
  }
  button.hidden = false;
  button.textContent = isDark() ? 'Light theme' : 'Dark theme';
  button.addEventListener('click', () => {
    const theme = isDark() ? 'light' : 'dark';
    history.replaceState(null, '', '#' + theme);
    setTheme(theme);
  });
  addEventListener('hashchange', () => /^#(dark|light)$/.test(location.hash) && setTheme(location.hash.slice(1)));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', e => {
    if (!/^#(dark|light)$/.test(location.hash)) {
      setTheme(e.matches ? 'dark' : 'light');
    }
  });

  let width = document.body.clientWidth;
  let waiting;
  new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (width !== document.body.clientWidth) {
        width = document.body.clientWidth;
        redraws.forEach(draw => draw());
      }
    }, 100);
  }).observe(document.body);

  let before;
  addEventListener('beforeprint', () => {
    before = root.dataset.theme;
    root.classList.add('paper');
    setTheme('light');
  });
  addEventListener('afterprint', () => {
    root.classList.remove('paper');
    setTheme(before);
  });
})();
