// Live pages: reconnect their stream, poll while there is none, announce endings. See templates/live.html.
"use strict";
{
  let source, timer, failures = 0;
  const announced = new Set();
  const find = (selector) => document.querySelector(selector);

  const announce = (root, isNews) => {
    for (const { textContent: ended } of root.querySelectorAll("[data-ended]")) {
      if (isNews && !announced.has(ended)) find("[data-announcer]").textContent = ended;
      announced.add(ended);
    }
  };
  const changed = (part) => {
    announce(part, true);
    part.dispatchEvent(new CustomEvent("live:changed", { bubbles: true }));
  };

  const poll = async () => {
    try {
      const text = await (await fetch(location.href, { headers: { Accept: "text/html" } })).text();
      const page = new DOMParser().parseFromString(text, "text/html");
      for (const part of document.querySelectorAll("[sse-swap][id]")) {
        const fresh = page.getElementById(part.id)?.innerHTML;
        if (fresh === undefined || fresh === part.polled) continue;
        htmx.swap(part, part.polled = fresh, { swapStyle: "innerHTML" });
        changed(part);
      }
    } catch { /* offline: a later poll may succeed */ }
  };
  const setPolling = (isPolling) => {
    const status = find("[data-live-status]");
    if (status) status.hidden = !isPolling;
    if (isPolling) timer ??= setInterval(poll, 5000); // a further failure must not start it again
    else timer = clearInterval(timer);
  };

  // The extension connects elements when htmx has processed them.
  const reconnect = () => {
    const root = find("[data-live]");
    if (!root || !source || document.hidden || source.readyState === EventSource.OPEN) return;
    source.close();
    for (const part of [root, ...root.querySelectorAll("[sse-swap]")]) htmx.trigger(part, "htmx:afterProcessNode");
  };
  document.addEventListener("htmx:sseOpen", ({ detail }) => {
    if (source !== detail.source) source?.close();
    source = detail.source;
    failures = 0;
    setPolling(false);
  });
  document.addEventListener("htmx:sseError", ({ detail }) => {
    source = detail.source;
    if (++failures >= 2) setPolling(true);
  });
  document.addEventListener("htmx:sseMessage", ({ target }) => changed(target));
  // An image may have ended before the page of its upload is there.
  document.addEventListener("htmx:afterSettle", ({ target }) => announce(target, true));

  // A browser has six connections to a server: hidden pages give theirs back.
  document.addEventListener("visibilitychange", () => document.hidden ? source?.close() : reconnect());
  addEventListener("online", reconnect);
  addEventListener("pageshow", ({ persisted }) => persisted && reconnect());
  announce(document, false);
}
