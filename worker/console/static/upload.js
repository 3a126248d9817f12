// The Try page: send dropped, pasted and chosen images, and play the stages of each.
"use strict";
{
  const say = (text) => { document.getElementById("rejected").textContent = text; };
  const send = (files) => {
    const form = document.getElementById("upload");
    if (!form || !files.length) return;
    const limit = Number(form.dataset.maxBytes);
    const chosen = new DataTransfer();
    const tooLarge = [];
    for (const file of files) file.size > limit ? tooLarge.push(file.name) : chosen.items.add(file);
    say(tooLarge.length ? `Larger than ${limit.toLocaleString("en")} bytes, and not sent: ${tooLarge.join(", ")}` : "");
    form.elements.file.files = chosen.files;
    if (chosen.files.length) form.requestSubmit();
  };
  document.addEventListener("change", ({ target }) => { if (target.type === "file") send([...target.files]); });
  document.addEventListener("paste", ({ clipboardData }) => send([...clipboardData.files]));
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      document.getElementById("upload")?.classList.toggle("dropping", name === "dragover");
      if (name === "drop") send([...event.dataTransfer.files]);
    });
  }
  document.addEventListener("htmx:xhr:progress", ({ target, detail }) => {
    const bar = target.querySelector("progress");
    bar.hidden = false;
    if (detail.lengthComputable) bar.value = detail.loaded / detail.total;
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (!detail.serverResponse.includes('id="try"')) return;
    detail.shouldSwap = true; // the page with the files that were rejected too
    detail.isError = false;
  });
  for (const name of ["htmx:responseError", "htmx:sendError"]) {
    document.addEventListener(name, ({ detail }) => say(`The upload failed (status ${detail.xhr.status}): reload this page.`));
  }

  // The milliseconds are real; the pace is one that the eye follows.
  const played = new Map();
  const timers = new Map();
  const play = (card) => {
    const stages = [...card.querySelectorAll("[data-stage]")];
    const skip = card.querySelector("[data-skip]");
    const show = (count) => {
      clearTimeout(timers.get(card.id));
      played.set(card.id, count);
      stages.forEach((stage, number) => stage.classList.toggle("ahead", number >= count));
      skip.hidden = count >= stages.length;
      card.querySelector("[data-end]").classList.toggle("ahead", !skip.hidden);
      if (skip.hidden) return;
      const ms = Number(stages[count].dataset.stage);
      timers.set(card.id, setTimeout(show, Math.min(900, 250 + ms / 4), count + 1));
    };
    skip.addEventListener("click", () => show(stages.length));
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    show(isCalm ? stages.length : Math.min(played.get(card.id) ?? 1, stages.length));
  };
  document.addEventListener("live:changed", ({ target }) => { if (target.matches("[data-plays]")) play(target); });
  htmx.onLoad((root) => {
    if (root !== document.body && root.id !== "try") return;
    played.clear();
    root.querySelectorAll("[data-plays]").forEach(play);
  });
}
