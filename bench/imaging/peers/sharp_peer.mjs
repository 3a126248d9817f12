// sharp: shrinks while it decodes, reads from top to bottom, in one thread, remembering nothing.
// The mark is blended on its own rectangle, by hand: `composite` goes over the whole picture, and keeps sharp from
// reading in sequence, for up to twice the CPU time. The JPEG's Huffman tables are the standard ones, as those of the
// others; sharp's default, to optimise them, costs more. FAST_SHRINK=no has it shrink less while decoding.
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import sharp from "sharp";

sharp.concurrency(1);
sharp.cache(false);

const fastShrinkOnLoad = process.env.FAST_SHRINK !== "no";
const marks = new Map();

async function markOf(file) {
  if (!marks.has(file)) {
    const { data, info } = await sharp(file).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
    marks.set(file, { pixels: data, width: info.width, height: info.height });
  }
  return marks.get(file);
}

function shrunk(content) {
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
      const cover = pixels[from + 3];
      for (let band = 0; cover && band < 3; band += 1) {
        data[to + band] = (data[to + band] * (255 - cover) + pixels[from + band] * cover + 127) / 255;
      }
    }
  }
}

async function finish(content, mark) {
  const { data, info } = await shrunk(content);
  blend(mark, data, info);
  return sharp(data, { raw: { width: info.width, height: info.height, channels: 3 } })
    .jpeg({ quality: 82, chromaSubsampling: "4:2:0", optimiseCoding: false })
    .toBuffer();
}

async function answer(request) {
  const content = readFileSync(request.file);
  if (request.times === 0) {
    const { data, info } = await shrunk(content);
    writeFileSync(request.out, data);
    return { width: info.width, height: info.height };
  }
  const mark = await markOf(request.mark);
  const began = process.cpuUsage();
  let result;
  for (let number = 0; number < request.times; number += 1) result = await finish(content, mark);
  const spent = process.cpuUsage(began);
  writeFileSync(request.out, result);
  return { cpu_ms: (spent.user + spent.system) / 1000 / request.times };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
