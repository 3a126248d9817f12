// The slider between an original and a result. Without it, both are shown next to each other.
"use strict";
{
  const show = (figure, percent) => {
    const value = Math.min(100, Math.max(0, percent));
    figure.style.setProperty("--at", `${value}%`);
    figure.querySelector("input[type=range]").value = value;
  };
  document.addEventListener("input", (event) => {
    const figure = event.target.closest(".compare");
    if (figure && event.target.type === "range") show(figure, event.target.valueAsNumber);
  });
  const drag = (event) => {
    const pixels = event.target.closest?.("[data-compare]");
    if (!pixels || !(event.buttons & 1)) return;
    const box = pixels.getBoundingClientRect();
    show(pixels.closest(".compare"), (100 * (event.clientX - box.left)) / box.width);
  };
  document.addEventListener("pointerdown", drag);
  document.addEventListener("pointermove", drag);
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest("[data-compare]")) event.preventDefault();
  });
}
