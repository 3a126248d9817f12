// Theme, keyboard shortcuts and relative times. Pages work without it.
"use strict";
{
  const root = document.documentElement;
  const select = document.getElementById("theme");
  select.value = root.dataset.theme || "system";
  select.addEventListener("change", () => {
    if (select.value === "system") delete root.dataset.theme;
    else root.dataset.theme = select.value;
    try {
      localStorage.setItem("theme", select.value);
    } catch { /* storage is turned off: lasts until the next page */ }
  });

  for (const opener of document.querySelectorAll("[data-opens]")) {
    opener.addEventListener("click", () => document.getElementById(opener.dataset.opens).showModal());
  }

  // Rows of the list: elements with data-row; Enter follows the first link of the focused one.
  const rows = () => [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent);
  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    const now = all.indexOf(document.activeElement.closest("[data-row]"));
    const row = all[Math.min(all.length - 1, Math.max(0, now < 0 ? 0 : now + step))];
    row.tabIndex = -1;
    row.focus();
    row.scrollIntoView({ block: "nearest" });
  };

  const keys = {
    "/": () => document.getElementById("search")?.focus(),
    "?": () => document.getElementById("help").showModal(),
    j: () => move(1),
    k: () => move(-1),
  };
  let isAfterG = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target;
    const isField = target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
    if (event.key === "Escape" && isField) target.blur();
    if (isField || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && target.matches("[data-row]")) {
      target.querySelector("a[href]")?.click();
    } else if (isAfterG) {
      isAfterG = false;
      document.querySelector(`nav [data-key="${CSS.escape(event.key)}"]`)?.click();
    } else if (event.key === "g") {
      isAfterG = true;
      setTimeout(() => { isAfterG = false; }, 1500);
    } else if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const ago = (at) => {
    const seconds = Math.trunc((Date.now() - at) / 1000);
    const unit = units.find(([, size]) => Math.abs(seconds) >= size);
    if (!unit) return "just now";
    const text = `${Math.trunc(Math.abs(seconds) / unit[1])} ${unit[0]}`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  };
  setInterval(() => {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[datetime]")) {
      const text = ago(Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  }, 10000);

  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}
