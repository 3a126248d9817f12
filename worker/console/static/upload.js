// The Try page: drop and paste images, show the progress of an upload, and play the steps of each image.
"use strict";
{
  const form = () => document.getElementById("upload");
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

  // Send files at once; those above the limit are not sent at all.
  const send = (files) => {
    const target = form();
    if (!target || !files.length) return;
    const limit = Number(target.dataset.maxBytes);
    const chosen = new DataTransfer();
    const rejected = document.getElementById("rejected");
    rejected.replaceChildren();
    for (const file of files) {
      if (file.size <= limit) {
        chosen.items.add(file);
        continue;
      }
      const item = document.createElement("li");
      item.textContent = `${file.name}: it has ${file.size.toLocaleString("en")} bytes, above the limit of `
        + `${limit.toLocaleString("en")}; choose a smaller file, or raise WORKER_MAX_BYTES.`;
      rejected.append(item);
    }
    if (!chosen.files.length) return;
    target.elements.file.files = chosen.files;
    target.requestSubmit();
  };
  document.addEventListener("change", ({ target }) => {
    if (target.form === form() && target.type === "file") send([...target.files]);
  });
  document.addEventListener("paste", ({ clipboardData }) => send([...clipboardData.files]));
  for (const name of ["dragover", "drop", "dragleave"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      form()?.classList.toggle("dropping", name === "dragover");
      if (name === "drop") send([...event.dataTransfer.files]);
    });
  }

  document.addEventListener("htmx:xhr:progress", ({ target, detail }) => {
    const bar = target.querySelector?.("progress");
    if (!bar || !detail.lengthComputable) return;
    bar.hidden = false;
    bar.value = detail.loaded / detail.total;
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if ([422, 503].includes(detail.xhr.status) && detail.requestConfig.verb === "post") {
      detail.shouldSwap = true;
      detail.isError = false;
    }
  });

  // Play the stages that are new, at a pace that the eye follows; the milliseconds next to them are real.
  const played = new Map();
  const timers = new Map();
  const pace = (stage) => Math.min(900, 250 + Number(stage.textContent.replace(/\D/g, "")) / 4);
  const play = (card) => {
    clearTimeout(timers.get(card.id));
    const stages = [...card.querySelectorAll("[data-stage]")];
    const end = card.querySelector("[data-end]");
    const skip = card.querySelector("[data-skip]");
    const showFrom = (count) => {
      stages.forEach((stage, number) => stage.classList.toggle("ahead", number >= count));
      end.classList.toggle("ahead", count < stages.length);
      skip.hidden = count >= stages.length;
      played.set(card.id, count);
      if (count < stages.length) timers.set(card.id, setTimeout(() => showFrom(count + 1), pace(stages[count])));
    };
    skip.addEventListener("click", () => {
      clearTimeout(timers.get(card.id));
      showFrom(stages.length);
    });
    showFrom(isCalm.matches ? stages.length : Math.min(played.get(card.id) ?? 1, stages.length));
  };
  document.addEventListener("live:changed", ({ target }) => { if (target.matches("[data-plays]")) play(target); });
  htmx.onLoad((root) => {
    const isNew = root.id === "try" || root === document.body;
    if (!isNew) return;
    played.clear();
    for (const card of root.querySelectorAll("[data-plays]")) play(card);
  });
}
