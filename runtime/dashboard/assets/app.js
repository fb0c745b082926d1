// The pages work without this script. It keeps them up to date, follows logs, and adds a theme switch and shortcuts.
'use strict';
(() => {
  const root = document.documentElement;
  const store = {
    get: (k) => { try { return localStorage.getItem('afgen-' + k); } catch { return null; } },
    set: (k, v) => { try { localStorage.setItem('afgen-' + k, v); } catch { /* storage is off: the choice ends with the page */ } },
  };
  const theme = store.get('theme');
  if (theme === 'light' || theme === 'dark') root.dataset.theme = theme; // before the page is drawn

  const $ = (sel, from = document) => from.querySelector(sel);
  const $$ = (sel, from = document) => [...from.querySelectorAll(sel)];
  function make(tag, text, name = '') { const el = document.createElement(tag); el.textContent = text; el.className = name; return el; }

  // ---- Relative times, as relative() in view.go has them.
  const span = (s) => s < 60 ? Math.floor(s) + ' s' : s < 3600 ? Math.floor(s / 60) + ' min'
    : s < 172800 ? Math.floor(s / 3600) + ' h' : Math.floor(s / 86400) + ' days';
  const relative = (ms) => ms <= -1000 ? span(-ms / 1000) + ' ago' : ms < 1000 ? 'now' : 'in ' + span(ms / 1000);
  const zones = ['relative', 'UTC', 'local'];
  let zone = zones.includes(store.get('times')) ? store.get('times') : 'relative';
  // A date and a time, in the viewer's zone or in UTC, as the server writes them.
  const stamp = (ms) => new Date(ms - (zone === 'local' ? new Date(ms).getTimezoneOffset() * 60000 : 0)).toISOString();
  function timed(el) {
    const ms = Date.parse(el.dateTime), { rel, at } = el.dataset;
    if (rel !== undefined && zone === 'relative') return relative(ms - Date.now());
    const [day, time] = stamp(ms).slice(0, 19).split('T');
    if (at) return at === '15:04' ? time.slice(0, 5) : day;
    return day === stamp(Date.now()).slice(0, 10) ? time : day + ' ' + time;
  }
  const setText = (el, text) => { if (el.textContent !== text) el.textContent = text; };
  function retime() {
    $$('time').forEach((el) => setText(el, timed(el)));
    $$('[data-zone]').forEach((el) => setText(el, zone === 'local' ? zone : 'UTC'));
  }
  function showZone() {
    $$('[data-times]').forEach((el) => {
      el.hidden = false;
      el.title = 'Times: ' + zone + '. Change: t';
      el.setAttribute('aria-label', el.title);
      setText($('span', el), zone === 'relative' ? '' : zone);
    });
    retime();
  }
  function nextZone() {
    zone = zones[(zones.indexOf(zone) + 1) % 3];
    store.set('times', zone);
    showZone();
  }

  // ---- Patching: what the server rendered anew replaces what differs. Focus, selections, what is open and what was
  // typed stay, because nodes that are the same are not touched.
  const keyOf = (n) => n.nodeType === 1 ? n.id || n.dataset.key || '' : '';
  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
  function patch(old, fresh) {
    if (old.nodeType !== 1) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.isEqualNode(fresh) || old.hasAttribute('data-following')) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(old.nodeName)) return; // the viewer's
    const kept = old.nodeName === 'DETAILS' ? ['open'] : old.hasAttribute('data-on') ? ['hidden', 'title'] : [];
    for (const { name, value } of [...fresh.attributes]) {
      if (!kept.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!kept.includes(name) && !fresh.hasAttribute(name) && name !== 'data-on') old.removeAttribute(name);
    }
    const keyed = new Map();
    for (const n of old.childNodes) { const k = keyOf(n); if (k) keyed.set(k, n); }
    let at = old.firstChild;
    for (const f of [...fresh.childNodes]) {
      const k = keyOf(f);
      let match = k ? keyed.get(k) : at && !keyOf(at) && same(at, f) ? at : null;
      if (match && !same(match, f)) match = null;
      if (!match) { old.insertBefore(document.importNode(f, true), at); continue; }
      if (match === at) at = at.nextSibling; else old.insertBefore(match, at);
      keyed.delete(k);
      patch(match, f);
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  // ---- Live updates
  const least = 1000, poll = 5000, unrelated = 3000;
  let due = null, fetching = false, gone = false, last = 0, wanted = new Set(), held = false;
  let tag = ''; // of the page that is shown, or ''
  function hold() { // or resume
    held = !held;
    state(shown);
    if (!held) want(['start'], 0);
  }
  const busy = (el) => $('details.menu[open]', el) || (el.contains(document.activeElement) &&
    /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.nodeName) && document.activeElement.type !== 'checkbox');
  function want(kinds, wait) {
    kinds.forEach((k) => wanted.add(k));
    const when = Math.max(Date.now() + wait, last + least);
    if (due && due.when <= when) return;
    if (due) clearTimeout(due.timer);
    due = { when, timer: setTimeout(refresh, when - Date.now()) };
  }
  async function refresh() {
    due = null;
    if (fetching || held || gone || document.hidden) return;
    const kinds = wanted;
    wanted = new Set();
    const parts = $$('[data-live]').filter((el) => kinds.has('start') || el.dataset.live.split(' ').some((k) => kinds.has(k)));
    if (!parts.length) return;
    fetching = true;
    last = Date.now();
    try {
      const answer = await fetch(location.pathname + location.search, { headers: { Accept: 'text/html', ...(tag && { 'If-None-Match': tag }) } });
      if (answer.status === 404) { gone = true; state('gone'); return; } // what is shown remains, to be read
      if (answer.status !== 304) {
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        if (answer.status === 401 || answer.status === 403) denied($$('.blank p', page).slice(1, -1).map((p) => p.textContent).join(' '));
        if (!answer.ok) throw new Error(answer.statusText);
        if (held) { fetching = false; return; }
        rights($('.who', page));
        document.title = page.title;
        let whole = true; // all of the page is shown
        for (const el of $$('main [data-live]')) {
          const fresh = page.getElementById(el.id);
          if (!fresh) el.remove();
          else if (!busy(el) && (parts.includes(el) || kinds.has('start'))) patch(el, fresh);
          else whole = false;
        }
        $$('main [data-live]', page).forEach((el) => { // parts that are new come after what they come after there
          if (document.getElementById(el.id)) return;
          const before = el.previousElementSibling && el.previousElementSibling.id && document.getElementById(el.previousElementSibling.id);
          if (before) before.after(document.importNode(el, true));
        });
        tag = whole ? answer.headers.get('ETag') || '' : '';
      }
      state(shown);
      wire();
      retime();
    } catch (e) { state('off'); }
    fetching = false;
    if (wanted.size) want([], 0);
  }

  // ---- Rights that are lost while the page is open
  let told = '';
  function denied(text) {
    const d = $('#denied');
    if (!d || told === text) return;
    told = text;
    setText($('p', d), text || 'The server does not show this page to you any more.');
    if (!d.open) d.showModal();
  }
  function rights(fresh) { // the user of a page that was read anew; without rights its buttons are missing
    const old = $('.who');
    told = '';
    if (!old || !fresh || old.textContent === fresh.textContent) return;
    const hint = $('p', fresh);
    old.replaceWith(document.importNode(fresh, true));
    if (hint) denied(hint.textContent);
    want(['start'], 0); // forms that are of no use any more
  }

  // One visible page of a browser holds a lock, and with it the stream of events; it passes on what comes. The others
  // tell it their tasks. Without locks, which need https or localhost, each visible page has a stream of its own.
  let stream = null, polling = null, channel = null, unlock = null, asked = null, shown = 'poll';
  const me = Math.random().toString(36).slice(2), others = new Map(); // the tasks of other pages, by page
  const words = { live: ['live', 'Changes are shown within a second or two'], poll: ['every 5 s', 'No stream of events: the page is read every 5 seconds'],
    off: ['not updating', 'The dashboard does not answer'], gone: ['deleted', 'What this page shows has been deleted'],
    held: ['paused', 'Updates of this page are paused. Resume: p'] };
  function state(s) {
    if (gone) s = 'gone';
    else if (s !== 'off') shown = s;
    const el = $('#live');
    if (!el) return;
    const shows = held ? 'held' : s;
    el.disabled = false;
    el.dataset.state = shows;
    setText($('.live-text', el), words[shows][0]);
    el.title = words[shows][1] + (held ? '' : '. Pause: p');
  }
  function startPolling(quiet) {
    if (!quiet) state('poll');
    if (polling) return;
    polling = setInterval(() => {
      want(['start'], 0);
      if (unlock && (!stream || stream.readyState === 2)) open();
    }, poll);
  }
  function live() { clearInterval(polling); polling = null; state('live'); }
  function tick(t) {
    const { task } = document.body.dataset;
    want([t.kind], t.kind === 'tasks' && task && !(t.ids || []).includes(task) ? unrelated : 50);
  }
  function tell(message) { if (channel) channel.postMessage(message); }
  function open() { // the stream, for all pages
    if (stream) stream.close();
    const { events, task } = document.body.dataset;
    if (!window.EventSource) { startPolling(); return; }
    const query = [...new Set([task, ...others.values()])].filter(Boolean).slice(0, 20).map((t) => 'task=' + encodeURIComponent(t));
    stream = new EventSource(events + (query.length ? '?' + query.join('&') : ''));
    const down = () => { startPolling(); tell({ live: false }); };
    stream.onopen = () => { live(); tell({ live: true }); };
    stream.onmessage = (m) => { const t = JSON.parse(m.data); tick(t); tell({ tick: t }); };
    stream.onerror = down;
    stream.addEventListener('end', () => { stream.close(); down(); });
  }
  function hear({ data }) {
    if (data.tick) tick(data.tick);
    else if (data.live === true) live();
    else if (data.live === false) startPolling();
    else if (data.who && !unlock) tell({ page: me, task: document.body.dataset.task || '' });
    else if (data.page && unlock) { // it shows a task, or has gone: then its task is not told
      const before = others.get(data.page) || '';
      others.delete(data.page);
      if ('task' in data && others.size < 100) others.set(data.page, data.task);
      if (data.task && data.task !== before) open();
      else tell({ live: shown === 'live' });
    }
  }
  function listen() {
    const { events, task } = document.body.dataset;
    if (!events) { startPolling(); return; }
    if (!window.BroadcastChannel || !navigator.locks) { unlock = () => {}; open(); return; }
    channel = new BroadcastChannel('afgen ' + events);
    channel.onmessage = hear;
    tell({ page: me, task: task || '' });
    asked = new AbortController();
    startPolling(true); // until the stream is open, here or in another page
    navigator.locks.request('afgen ' + events, { signal: asked.signal }, () => new Promise((done) => {
      unlock = done;
      tell({ who: me });
      open();
    })).catch(() => {}); // hidden before it was its turn
  }
  function pause() {
    if (stream) stream.close();
    tell({ page: me });
    if (channel) channel.close();
    if (asked) asked.abort();
    if (unlock) unlock();
    stream = channel = asked = unlock = null;
    others.clear();
    clearInterval(polling);
    polling = null;
    $$('[data-following]').forEach((el) => el.removeAttribute('data-following'));
    follows.forEach((f) => f.close());
    follows.clear();
  }

  // ---- Logs of running attempts
  function logLine(line) { // as LogLine in view.go
    const part = (kind, text) => make('span', text, kind);
    const m = /^time=(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d(?:\.\d+)?)\S*) level=(\S+) msg=("(?:[^"\\]|\\.)*"|\S*)([^]*)$/.exec(line);
    const el = part(/level=ERROR/.test(line) ? 'l-error' : /level=WARN/.test(line) ? 'l-warn' : 'l', m ? '' : line + '\n');
    if (!m) return el;
    const msg = m[4][0] === '"' && !m[4].includes('\\') ? m[4].slice(1, -1) : m[4];
    el.append(part('l-t', m[2]), ' ', part('l-l', m[3]), ' ' + msg, part('l-a', m[5]), '\n');
    el.firstChild.title = m[1];
    return el;
  }
  const follows = new Map();
  function follow(el) {
    if (follows.has(el) || !window.EventSource || document.hidden) return;
    const log = new EventSource(el.dataset.follow);
    follows.set(el, log);
    const mark = $('.follow', el.parentElement);
    const stop = () => { log.close(); el.removeAttribute('data-following'); if (mark) mark.hidden = true; };
    log.onmessage = (m) => {
      const bottom = el.scrollHeight - el.scrollTop - el.clientHeight < 40;
      if (!el.hasAttribute('data-following')) { el.replaceChildren(); el.setAttribute('data-following', ''); } // it begins with the stored lines
      if (mark) mark.hidden = false;
      for (const line of JSON.parse(m.data)) {
        el.append(logLine(line));
      }
      while (el.childElementCount > 2000) el.firstElementChild.remove();
      if (bottom) el.scrollTop = el.scrollHeight;
    };
    log.addEventListener('end', () => { stop(); want(['tasks'], 0); });
    log.onerror = stop; // the next update of the page tries again
  }

  // ---- What the pages have
  function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = make('textarea', text); // over HTTP on another host, browsers have no clipboard
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done ? Promise.resolve() : Promise.reject();
  }
  // Filters that the viewer saves, in this browser.
  function saved() {
    const list = $('#saved'), save = $('[data-save]'), name = 'filters ' + location.pathname;
    if (!list) return;
    const line = $('form[role=search] input').defaultValue.trim();
    let lines = [];
    try { lines = JSON.parse(store.get(name)) || []; } catch { /* not ours */ }
    const show = () => {
      list.hidden = !lines.length;
      list.replaceChildren(...lines.map((l) => {
        const a = make('a', l, 'pill mono');
        a.href = '?q=' + encodeURIComponent(l);
        return a;
      }));
      save.hidden = !line;
      setText(save, lines.includes(line) ? 'Forget' : 'Save');
    };
    save.title = 'Saved filters are kept in this browser';
    save.addEventListener('click', () => {
      lines = lines.includes(line) ? lines.filter((l) => l !== line) : [line, ...lines].slice(0, 20);
      store.set(name, JSON.stringify(lines));
      show();
    });
    show();
  }
  // With the shift key, a click selects all rows from the last one that was clicked.
  let clicked = null;
  function range(e) {
    if (e.target.name !== 'id') return;
    const boxes = $$('[name=id]'), from = boxes.indexOf(clicked), to = boxes.indexOf(e.target);
    if (e.shiftKey && from >= 0) boxes.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((b) => { b.checked = e.target.checked; });
    clicked = e.target;
    chosen();
  }
  function wire() {
    $$('[data-follow]').forEach(follow);
    follows.forEach((f, el) => { if (!el.isConnected || !el.dataset.follow) { f.close(); follows.delete(el); } });
    $$('[data-copy]:not([data-on])').forEach((el) => {
      el.setAttribute('data-on', '');
      el.title = 'Copy';
      el.hidden = false;
      el.addEventListener('click', async () => { // the text of the element, or what its address answers
        if (String(getSelection())) return;
        try {
          await copy(el.dataset.copy ? await (await fetch(el.dataset.copy)).text() : el.textContent);
          el.title = 'Copied';
        } catch { el.title = 'Not copied'; }
      });
    });
    $$('[data-all]:not([data-on])').forEach((all) => {
      all.setAttribute('data-on', '');
      all.hidden = false;
      all.addEventListener('change', () => { $$('[name=id]').forEach((b) => { b.checked = all.checked; }); chosen(); });
    });
    chosen();
    remark();
  }
  function chosen() {
    const n = $$('[name=id]:checked').length;
    $$('[data-chosen]').forEach((el) => setText(el, n ? n + ' selected' : ''));
  }

  // ---- Shortcuts
  let prefix = 0, row = ''; // the key of the marked row
  const rows = () => $$('tbody tr[data-key]');
  const marked = () => rows().find((r) => r.dataset.key === row);
  const remark = () => rows().forEach((r) => r.classList.toggle('marked', r.dataset.key === row));
  function mark(by) {
    const all = rows(), to = all[Math.min(Math.max(all.indexOf(marked()) + by, 0), all.length - 1)];
    if (!to) return;
    row = to.dataset.key;
    remark();
    to.scrollIntoView({ block: 'nearest' });
  }
  function help() { const d = $('#help'); if (d) { if (d.open) d.close(); else d.showModal(); } }
  function key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === 'Escape') { $$('details.menu[open]').forEach((d) => { d.open = false; }); return; }
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.nodeName) && e.target.type !== 'checkbox') return;
    if (e.key === '?') { help(); return; }
    if ($('dialog[open]')) return;
    const page = Date.now() - prefix < 1200 && $$('.top nav a').find((a) => a.textContent.trim()[0].toLowerCase() === e.key);
    prefix = 0;
    if (page) { page.click(); return; }
    if (e.key === 'g') prefix = Date.now();
    else if (e.key === '/') { const q = $('form[role=search] input'); if (q) { q.focus(); q.select(); e.preventDefault(); } }
    else if (e.key === 'p' && $('[data-live]')) hold();
    else if (e.key === 't') nextZone();
    else if (e.key === 'j') mark(1);
    else if (e.key === 'k') mark(-1);
    else if (e.key === 'x' && marked()) { const b = $('[name=id]', marked()); if (b) b.click(); }
    else if (e.key === 'Enter' && e.target === document.body && marked()) { const a = $('a', marked()); if (a) a.click(); }
  }

  // ---- Completion of the last term of a filter. A list of the browser completes whole lines, so the rest precedes.
  function complete(line) {
    const list = line.list, terms = list ? [...list.options].map((o) => [o.value, o.label]) : [];
    let before = '';
    line.addEventListener('input', () => {
      const now = line.value.slice(0, line.value.lastIndexOf(' ') + 1);
      if (now === before) return;
      before = now;
      list.replaceChildren(...terms.map(([value, label]) => {
        const o = document.createElement('option');
        o.value = before + value;
        o.label = label;
        return o;
      }));
    });
  }

  // ---- What a part of a chart stands for, at once and also when it is touched: browsers show titles late or never.
  const tip = make('div', '', 'tip');
  function explain(e) {
    const part = e.target.closest && e.target.closest('.bar'), title = part && $('title', part);
    if (title) { part.dataset.tip = title.textContent; title.remove(); } // so that it is not shown twice
    if (!part || !part.dataset.tip) { tip.remove(); return; }
    const [, when, rest] = /^(.*?): (.*)$/.exec(part.dataset.tip) || ['', part.dataset.tip, ''];
    tip.replaceChildren(make('b', when), ...rest.split(', ').filter((line) => !line.startsWith('0 ')).map((line) => make('p', line)));
    document.body.append(tip);
    const at = part.getBoundingClientRect(), { offsetWidth: w, offsetHeight: h } = tip;
    tip.style.left = (at.right + w + 10 < innerWidth ? at.right + 6 : Math.max(at.left - w - 6, 4)) + 'px';
    tip.style.top = Math.max(4, Math.min(at.top, innerHeight - h - 4)) + 'px';
  }

  document.addEventListener('DOMContentLoaded', () => {
    document.addEventListener('pointerover', explain);
    addEventListener('scroll', () => tip.remove(), { passive: true });
    const toggle = $('[data-theme-toggle]');
    if (toggle) {
      toggle.hidden = false;
      toggle.addEventListener('click', () => {
        const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
        root.dataset.theme = dark ? 'light' : 'dark';
        store.set('theme', root.dataset.theme);
      });
    }
    const here = new URL(location.href);
    if (here.searchParams.has('done')) { // a reload must not tell it again
      here.searchParams.delete('done');
      history.replaceState(null, '', here);
    }
    document.addEventListener('keydown', key);
    document.addEventListener('click', range);
    $$('[data-times]').forEach((el) => el.addEventListener('click', nextZone));
    if ($('#live')) $('#live').addEventListener('click', hold);
    showZone();
    saved();
    $$('form[role=search] input[list]').forEach(complete);
    $$('[data-help]').forEach((el) => { el.hidden = false; el.addEventListener('click', help); });
    $$('dialog').forEach((d) => d.addEventListener('click', (e) => { if (e.target === d) d.close(); }));
    document.addEventListener('change', (e) => { if (e.target.name === 'id') chosen(); });
    document.addEventListener('click', (e) => { // a click elsewhere closes menus
      $$('details.menu[open]').forEach((d) => { if (!d.contains(e.target)) d.open = false; });
    });
    wire();
    setInterval(retime, 5000);
    if (!$('[data-live]')) return;
    listen();
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) pause(); else { listen(); want(['start'], 0); }
    });
    addEventListener('pagehide', pause);
    addEventListener('pageshow', (e) => { if (e.persisted) { listen(); want(['start'], 0); } });
  });
})();
