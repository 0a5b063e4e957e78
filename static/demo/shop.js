/*
 * What a shop adds to its pages for Nudge: the calls that the server handed over, the bell, and a question in the page
 * before the browser's own. The browser's permission prompt appears only in a click on "Yes" or on the bell.
 */
(function () {
  'use strict';
  const VIEWS = 'kahwa.views';
  const ANSWERED = 'kahwa.answered';
  const CHOICES = 'kahwa.choices';
  const TOAST_TIME = 6000; // ms

  // Keeps calls until the SDK, which loads in its own time, is there.
  window.nudge = window.nudge || {q: []};
  ['identify', 'track', 'page', 'consent', 'reset', 'on'].forEach((name) => {
    window.nudge[name] = window.nudge[name] || ((...args) => { window.nudge.q.push([name, ...args]); });
  });

  const find = (id) => document.getElementById(id);
  const bell = find('bell');
  const ask = find('ask');
  const handover = JSON.parse(find('handover').textContent);
  let toastTimer = 0;

  function say(text) {
    const toast = find('toast');
    toast.textContent = text;
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => { toast.textContent = ''; }, TOAST_TIME);
  }

  // Storage may be blocked: the shop works without it.
  function kept(area, key) {
    try { return window[area].getItem(key); } catch (error) { return null; }
  }

  function keep(area, key, value) {
    try { window[area].setItem(key, value); } catch (error) { /* asked again on the next page */ }
  }

  // Every page is handed what none has made yet. The cookie says how far they came, to the server and to other tabs.
  const cookie = (/(?:^|; )kahwa_made=(\w+)/.exec(document.cookie) || [])[1];
  const ids = handover.calls.map(({id}) => id);
  const made = ids.indexOf(cookie || ''); // calls without an id belong to this page alone
  const calls = handover.calls.slice(made + 1);
  calls.forEach(({call: [name, ...args]}) => {
    window.nudge[name](...args);
    if (name === 'track' && args[0] === 'product_viewed') {
      keep('localStorage', VIEWS, String(Number(kept('localStorage', VIEWS) || 0) + 1));
    }
  });
  const last = calls.map(({id}) => id).filter(Boolean).pop();
  // Only the SDK itself, once there, has them in safety: this comes after them in its queue.
  if (last) {
    window.nudge.on('ready', () => {
      document.cookie = 'kahwa_made=' + last + ';path=' + document.body.dataset.path + ';max-age=31536000;samesite=lax';
    });
  }

  if (!bell) return; // no browser key yet

  // What the visitor chooses at the foot of the page. The words beside a box are kept as proof of what was asked.
  const choices = document.querySelector('.choices');
  const chosen = JSON.parse(kept('localStorage', CHOICES) || '{}');
  choices.querySelectorAll('input').forEach((box) => {
    const name = box.dataset.choice;
    if (name in chosen) box.checked = chosen[name];
    box.addEventListener('change', () => {
      chosen[name] = box.checked;
      keep('localStorage', CHOICES, JSON.stringify(chosen));
      const state = box.checked ? 'subscribed' : 'unsubscribed';
      const wording = box.parentElement.textContent.trim();
      if (name === 'tracking') window.nudge.consent(box.checked);
      else window.nudge.consent({[name === 'email' ? 'channel' : 'topic']: name, state, wording});
      say(choices.dataset.saved);
    });
  });

  function show(state) {
    bell.dataset.state = state;
    bell.hidden = state === 'unsupported';
    bell.setAttribute('aria-pressed', String(state === 'subscribed'));
    const words = {subscribed: bell.dataset.on, denied: bell.dataset.denied}[state] || bell.dataset.off;
    bell.setAttribute('aria-label', words);
    bell.title = words;
    if (state !== 'unsubscribed') ask.hidden = true;
  }

  function answered() {
    ask.hidden = true;
    keep('localStorage', ANSWERED, new Date().toISOString());
  }

  async function change(action) {
    bell.disabled = true;
    try {
      const state = await window.nudge.push[action]();
      show(state);
      say({subscribed: bell.dataset.turnedOn, denied: bell.dataset.denied}[state] || bell.dataset.turnedOff);
    } catch (error) {
      console.warn(error);
      say(bell.dataset.failed);
      show(await window.nudge.push.state());
    } finally {
      bell.disabled = false;
    }
  }

  bell.addEventListener('click', () => {
    answered();
    if (bell.dataset.state === 'denied') say(bell.dataset.denied);
    else change(bell.dataset.state === 'subscribed' ? 'unsubscribe' : 'subscribe');
  });
  find('ask-yes').addEventListener('click', () => {
    answered();
    change('subscribe');
  });
  find('ask-later').addEventListener('click', () => {
    answered();
    bell.focus(); // the focused button is gone
  });
  ask.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') find('ask-later').click();
  });

  window.nudge.on('ready', async () => {
    const state = await window.nudge.push.state();
    show(state);
    window.nudge.on('push', show);
    const interested = handover.ask || Number(kept('localStorage', VIEWS)) >= 2;
    ask.hidden = !(interested && state === 'unsubscribed' && !kept('localStorage', ANSWERED));
  });
})();
