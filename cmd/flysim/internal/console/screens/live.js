
"use strict";
// This script keeps the page up to date. It does not touch what the person has
// focused, open, scrolled to, or half filled in. The page works without it.
(() => {
  const said = document.querySelector("[data-live-text]");
  let news = said.textContent;
  const parts = root => [...root.querySelectorAll("[data-live] > *")];
  const seen = new Map(parts(document).map(e => [e.id, e.outerHTML])); // as the server sent it

  // The copy buttons work only with a script, so they are hidden without it.
  const copies = "[data-copy], [data-copy-from]";
  const equip = root => root.querySelectorAll(copies).forEach(e => { e.hidden = false; });
  equip(document);
  const textFor = async button => {
    if (button.dataset.copy) return document.getElementById(button.dataset.copy).textContent;
    const answer = await fetch(button.dataset.copyFrom);
    if (!answer.ok) throw new Error(answer.status);
    return answer.text();
  };
  document.addEventListener("click", async event => {
    const button = event.target.closest(copies);
    if (!button || button.dataset.label) return;
    button.dataset.label = button.textContent;
    try {
      await navigator.clipboard.writeText(await textFor(button));
      said.textContent = "Copied";
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => { button.textContent = button.dataset.label; delete button.dataset.label; }, 2000);
  });

  // A filter applies as soon as it is changed.
  const filter = document.getElementById("filter");
  filter?.addEventListener("change", event => { if (event.target.localName === "select") filter.requestSubmit(); });

  // A form is sent once, even if its button is pressed again.
  document.addEventListener("submit", event => {
    if (event.target.method === "get") return;
    if (event.target.dataset.busy) return event.preventDefault();
    event.target.dataset.busy = "true";
    said.textContent = "Sending";
  });
  addEventListener("pageshow", () => document.querySelectorAll("[data-busy]").forEach(e => delete e.dataset.busy));

  // A node that stays keeps its focus, its selection and a half-done click. Only
  // the person and this script open and hide nodes.
  const mine = ["open", "hidden"];
  const morph = (old, fresh) => {
    if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) return old.replaceWith(fresh);
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const {name} of [...old.attributes]) {
      if (!mine.includes(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const {name, value} of fresh.attributes) {
      if (!mine.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const kept = [...old.childNodes], sent = [...fresh.childNodes];
    kept.slice(sent.length).forEach(node => node.remove());
    sent.forEach((node, i) => kept[i] ? morph(kept[i], node) : old.append(node));
  };

  const update = page => {
    for (const list of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(list.id);
      if (!fresh) continue;
      for (const e of [...list.children]) {
        if (![...fresh.children].some(f => f.id === e.id)) e.remove();
      }
      [...fresh.children].forEach((f, i) => {
        const sent = f.outerHTML, old = document.getElementById(f.id);
        if (!old || sent !== seen.get(f.id)) {
          equip(f);
          if (old) morph(old, f);
          else list.insertBefore(f, list.children[i] ?? null);
          seen.set(f.id, sent);
        }
      });
    }
    const fresh = page.querySelector("[data-live-text]").textContent;
    if (news !== fresh) said.textContent = news = fresh;
    document.body.dataset.version = page.body.dataset.version;
  };

  let fetching = false, again = false;
  const refresh = async () => {
    again = fetching;
    if (fetching) return;
    fetching = true;
    try {
      const answer = await fetch(document.body.dataset.self);
      if (answer.ok) update(new DOMParser().parseFromString(await answer.text(), "text/html"));
      if (answer.status === 404) location.reload(); // to show that the page no longer exists
    } catch {
      // The console is unreachable. The stream reports its return.
    }
    fetching = false;
    if (again) refresh();
  };

  let stream;
  const follow = () => {
    stream?.close();
    stream = undefined;
    if (document.hidden) return; // a browser has few connections to spare
    stream = new EventSource("/live?since=" + document.body.dataset.version);
    stream.onmessage = refresh;
  };
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", () => stream?.close());
  follow();
})();
