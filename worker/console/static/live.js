// Live pages: reconnect their stream, poll while there is none, and announce endings. See templates/live.html.
"use strict";
{
  const POLL_MS = 5000;
  const announced = new Set();
  let source = null;
  let failures = 0;
  let timer = 0;

  const live = () => document.querySelector("[data-live]");
  const show = (text) => {
    const status = document.querySelector("[data-live-status]");
    if (status) {
      status.textContent = text;
      status.hidden = !text;
    }
  };

  // Endings that the page has when it opens are not news.
  const announce = (root, isNews) => {
    for (const { dataset } of root.querySelectorAll("[data-ended]")) {
      if (announced.has(dataset.ended)) continue;
      announced.add(dataset.ended);
      const announcer = document.querySelector("[data-announcer]");
      if (isNews && announcer) announcer.textContent = dataset.ended;
    }
  };

  const poll = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live] [sse-swap]")) {
        const fresh = page.getElementById(part.id);
        if (!fresh || fresh.innerHTML === part.lastHtml) continue;
        part.lastHtml = fresh.innerHTML;
        htmx.swap(part, fresh.innerHTML, { swapStyle: "innerHTML" });
        part.dispatchEvent(new CustomEvent("live:changed", { bubbles: true }));
      }
    } catch { /* offline: the next poll may succeed */ }
  };
  const startPolling = () => {
    show("Not connected: this page is read again every 5 seconds.");
    timer ||= setInterval(poll, POLL_MS);
  };
  const stopPolling = () => {
    clearInterval(timer);
    timer = 0;
    show("");
  };

  // The extension connects an element when it is processed; so it does again.
  const reconnect = () => {
    const root = live();
    if (!root || document.hidden || source?.readyState === EventSource.OPEN) return;
    source?.close();
    for (const part of [root, ...root.querySelectorAll("[sse-swap]")]) htmx.trigger(part, "htmx:afterProcessNode");
  };

  document.addEventListener("htmx:sseOpen", ({ detail }) => {
    source = detail.source;
    failures = 0;
    stopPolling();
    if (document.hidden) source.close();
  });
  document.addEventListener("htmx:sseError", ({ detail }) => {
    source = detail.source;
    failures += 1;
    if (failures >= 2) startPolling();
  });
  document.addEventListener("htmx:sseMessage", ({ target }) => {
    target.dispatchEvent(new CustomEvent("live:changed", { bubbles: true }));
  });
  document.addEventListener("live:changed", ({ target }) => announce(target, true));

  // A browser opens six connections to a server: pages that nobody sees give theirs back.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) reconnect();
    else if (source) source.close();
  });
  window.addEventListener("online", () => { poll(); reconnect(); });
  window.addEventListener("pageshow", ({ persisted }) => { if (persisted) reconnect(); });
  window.addEventListener("pagehide", () => source?.close());
  announce(document, false);
}
