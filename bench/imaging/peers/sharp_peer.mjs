// sharp, single-threaded and without its cache: shrink-on-load and sequential reading.
// The watermark is blended on its bounding box in JavaScript: `composite` processes the whole image and prevents
// sequential reading, for up to twice the CPU time. The JPEG has the standard Huffman tables, as those of the other
// peers; sharp's default, optimized tables, costs more. With FAST_SHRINK=no, sharp shrinks less on load.
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import sharp from "sharp";

sharp.concurrency(1);
sharp.cache(false);

const fastShrinkOnLoad = process.env.FAST_SHRINK !== "no";
const marks = new Map();

async function openMark(file) {
  if (!marks.has(file)) {
    const { data, info } = await sharp(file).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
    marks.set(file, { pixels: data, width: info.width, height: info.height });
  }
  return marks.get(file);
}

function thumbnail(content) {
  return sharp(content, { sequentialRead: true })
    .autoOrient()
    .resize(800, 600, { fit: "inside", withoutEnlargement: true, fastShrinkOnLoad })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
}

function blend({ pixels, width, height }, data, info) {
  const [left, top] = [info.width - width, info.height - height];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const from = 4 * (y * width + x);
      const to = 3 * ((top + y) * info.width + left + x);
      const alpha = pixels[from + 3];
      for (let band = 0; alpha && band < 3; band += 1) {
        data[to + band] = (data[to + band] * (255 - alpha) + pixels[from + band] * alpha + 127) / 255;
      }
    }
  }
}

async function processImage(content, mark) {
  const { data, info } = await thumbnail(content);
  blend(mark, data, info);
  return sharp(data, { raw: { width: info.width, height: info.height, channels: 3 } })
    .jpeg({ quality: 82, chromaSubsampling: "4:2:0", optimiseCoding: false })
    .toBuffer();
}

async function respond(request) {
  const content = readFileSync(request.file);
  if (request.times === 0) {
    const { data, info } = await thumbnail(content);
    writeFileSync(request.out, data);
    return { width: info.width, height: info.height };
  }
  const mark = await openMark(request.mark);
  const start = process.cpuUsage();
  let result;
  for (let number = 0; number < request.times; number += 1) result = await processImage(content, mark);
  const used = process.cpuUsage(start);
  writeFileSync(request.out, result);
  return { cpu_ms: (used.user + used.system) / 1000 / request.times };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await respond(JSON.parse(line)))}\n`);
}
