// Returns a sentence for each thing that is wrong with the layout of the page: a horizontal scroll, text that is
// cut off without a `title` that has it, texts or controls that overlap, and text behind another element.
() => {
  const problems = new Set();
  const root = document.documentElement;
  const right = root.clientWidth;

  const name = (element) => {
    const id = element.id ? `#${element.id}` : "";
    const classes = [...element.classList].map((one) => `.${one}`).join("");
    return `<${element.localName}${id}${classes}>`;
  };
  const quote = (text) => JSON.stringify(text.trim().replace(/\s+/g, " ").slice(0, 60));
  const isShown = (element) =>
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true });
  // For screen readers only: one pixel in size, or clipped to nothing.
  const isForReaders = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const box = each.getBoundingClientRect();
      const style = getComputedStyle(each);
      if (style.overflow !== "visible" && (box.width <= 1 || box.height <= 1)) return true;
      if (style.clipPath === "inset(50%)") return true;
    }
    return false;
  };

  if (root.scrollWidth > right) problems.add(`the page is ${root.scrollWidth} px wide in a window of ${right} px`);
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    const scrolls = style.overflowX === "auto" || style.overflowX === "scroll";
    if (scrolls && isShown(element) && element.scrollWidth > element.clientWidth + 1)
      problems.add(`${name(element)} needs a horizontal scroll`);
  }

  // The visible part of a rectangle within the ancestors that clip it, and the first that cuts it off.
  const clipped = (rectangle, element) => {
    let { left, top, right, bottom } = rectangle;
    let by = null;
    for (let each = element; each && each !== document.body; each = each.parentElement) {
      const style = getComputedStyle(each);
      if (style.position === "fixed") break;
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      const box = each.getBoundingClientRect();
      const cutsX = style.overflowX !== "visible" && (left < box.left - 1 || right > box.right + 1);
      const cutsY = style.overflowY !== "visible" && (top < box.top - 1 || bottom > box.bottom + 1);
      const scrollsY = style.overflowY === "auto" || style.overflowY === "scroll";
      if (cutsX || (cutsY && !scrollsY)) by ??= each;
      left = Math.max(left, box.left);
      right = Math.min(right, box.right);
      top = Math.max(top, box.top);
      bottom = Math.min(bottom, box.bottom);
    }
    return { left, top, right, bottom, by };
  };

  const pieces = [];
  const add = (rectangle, element, label, node = element) => {
    if (rectangle.width < 1 || rectangle.height < 1) return;
    if (rectangle.right < 0 || rectangle.bottom < 0) return; // moved out until it has the focus
    const visible = clipped(rectangle, element);
    if (visible.by) {
      const titled = element.closest("[title]");
      const text = element.textContent.trim();
      if (!titled || !titled.title.includes(text)) problems.add(`${label} is cut off by ${name(visible.by)}`);
    }
    if (visible.right > right + 1 || visible.left < -1) problems.add(`${label} lies outside of the window`);
    if (visible.right - visible.left < 1 || visible.bottom - visible.top < 1) return;
    pieces.push({ ...visible, element, label, node });
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style, noscript, option, title, template")) continue;
    if (!isShown(element) || isForReaders(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rectangle of range.getClientRects()) add(rectangle, element, quote(node.data), node);
  }
  for (const element of document.body.querySelectorAll("input, select, textarea, button, progress, meter")) {
    if (!isShown(element) || isForReaders(element)) continue;
    add(element.getBoundingClientRect(), element, name(element));
    // Too long for its control: the value is cut off, as nothing tells.
    const isText = element.matches("input:not([type=range], [type=checkbox], [type=radio], [type=color]), select");
    if (isText && element.placeholder && !element.value) {
      const canvas = document.createElement("canvas").getContext("2d");
      const style = getComputedStyle(element);
      canvas.font = style.font;
      const inside = element.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      if (canvas.measureText(element.placeholder).width > inside + 1)
        problems.add(`the placeholder ${quote(element.placeholder)} is cut off`);
    }
  }

  const isRelated = (one, other) => one.contains(other) || other.contains(one);
  pieces.sort((one, other) => one.top - other.top);
  for (let index = 0; index < pieces.length; index++) {
    const one = pieces[index];
    for (let next = index + 1; next < pieces.length && pieces[next].top < one.bottom; next++) {
      const other = pieces[next];
      if (one.node === other.node) continue;
      const isControl = one.node === one.element || other.node === other.element;
      if (isControl && isRelated(one.element, other.element)) continue; // a button and its own text
      const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      const lower = Math.min(one.bottom - one.top, other.bottom - other.top);
      if (width > 2 && height > 0.4 * lower) problems.add(`${one.label} and ${other.label} overlap`);
    }
    const x = (one.left + one.right) / 2;
    const y = (one.top + one.bottom) / 2;
    const hit = document.elementFromPoint(x, y);
    const isOnTop = !hit || isRelated(hit, one.element) || getComputedStyle(hit).opacity === "0";
    const labels = hit && hit.closest("label");
    if (!isOnTop && !(labels && labels.contains(one.element)))
      problems.add(`${one.label} is behind ${name(hit)}`);
  }
  return [...problems];
}
