// Runs before the page is painted, so that the chosen theme does not flash.
{
  const root = document.documentElement;
  root.dataset.scripted = "";
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch { /* storage is turned off: the system's theme */ }
}
