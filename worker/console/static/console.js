// Theme, keyboard shortcuts and relative times. Pages work without it.
"use strict";
{
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  const theme = find("theme");
  theme.value = root.dataset.theme || "system";
  theme.addEventListener("change", () => {
    root.dataset.theme = theme.value;
    try {
      localStorage.setItem("theme", theme.value);
    } catch { /* storage is turned off: lasts until the next page */ }
  });

  const help = () => find("help").showModal();
  find("help-opener").addEventListener("click", help);

  // Focus the next or previous row of a list.
  const move = (step) => {
    const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent);
    const now = rows.indexOf(document.activeElement.closest("[data-row]"));
    const row = rows[now < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, now + step))];
    if (!row) return;
    row.tabIndex = -1;
    row.focus();
  };
  let afterG = 0;
  const shortcuts = {
    "/": () => find("search")?.focus(),
    "?": help,
    j: () => move(1),
    k: () => move(-1),
    g: () => { afterG = Date.now(); },
  };
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const isField = target.matches("input:not([type=checkbox], [type=radio]), textarea, select");
    if (isField && key === "Escape") target.blur();
    if (isField || document.querySelector("dialog[open]")) return;
    const view = Date.now() - afterG < 1500 && document.querySelector(`nav [data-key="${CSS.escape(key)}"]`);
    if (view) view.click();
    else if (key === "Enter" && target.matches("[data-row]")) target.querySelector("a[href]")?.click();
    else if (Object.hasOwn(shortcuts, key)) {
      event.preventDefault();
      shortcuts[key]();
    }
  });

  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  setInterval(() => {
    for (const time of document.querySelectorAll("time")) {
      const seconds = Math.trunc((Date.now() - Date.parse(time.dateTime)) / 1000);
      const [name, size] = units.find((unit) => seconds >= unit[1]) || [];
      if (name) time.textContent = `${Math.trunc(seconds / size)} ${name} ago`;
    }
  }, 10000);
}
