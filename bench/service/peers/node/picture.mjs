// The three steps with sharp: check, resize, and mark and encode.
import sharp from "sharp";

const BOX = { width: 800, height: 600 };
const MOST_PIXELS = 100_000_000;
const TEXT = "Processed by Image Platform";
const tiles = new Map();

sharp.cache(false); // no picture comes twice

export const steps = [
  ["validation", validate],
  ["resize", resize],
  ["watermark", watermark],
];

async function validate(state) {
  const found = await sharp(state.content, { limitInputPixels: MOST_PIXELS }).metadata();
  if (found.format !== "jpeg") throw new Error(`a ${found.format}, not a jpeg`);
  state.original = { width: found.width, height: found.height };
  return { result: "valid", format: found.format };
}

// To raw pixels: marking those is cheaper than composing and resizing in one pipeline.
async function resize(state) {
  const { data, info } = await sharp(state.content, { limitInputPixels: MOST_PIXELS, failOn: "error" })
    .autoOrient()
    .resize({ ...BOX, fit: "inside", withoutEnlargement: true })
    .raw()
    .toBuffer({ resolveWithObject: true });
  state.raw = data;
  state.size = { width: info.width, height: info.height, channels: info.channels };
  return {
    dimensions: {
      original: state.original,
      processed: { width: info.width, height: info.height },
    },
  };
}

async function watermark(state) {
  const { width, height } = state.size;
  const tile = await tileFor(Math.round(Math.min(width, height) * 0.045));
  const margin = Math.round(Math.min(width, height) * 0.02);
  state.result = await sharp(state.raw, { raw: state.size })
    .composite([
      {
        input: tile.data,
        raw: { width: tile.info.width, height: tile.info.height, channels: 4 },
        left: width - margin - tile.info.width,
        top: height - margin - tile.info.height,
      },
    ])
    .jpeg({ quality: 82, chromaSubsampling: "4:2:0", optimiseCoding: false })
    .toBuffer();
  return { watermarkType: "text", watermarkText: TEXT };
}

function tileFor(heightPx) {
  if (!tiles.has(heightPx)) {
    const width = Math.ceil(heightPx * 0.62 * TEXT.length);
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${heightPx * 1.4}">
      <text x="${width}" y="${heightPx}" text-anchor="end" font-family="DejaVu Sans" font-weight="bold"
        font-size="${heightPx}" fill="#ffffff" fill-opacity="0.55">${TEXT}</text></svg>`;
    tiles.set(
      heightPx,
      sharp(Buffer.from(svg)).ensureAlpha().raw().toBuffer({ resolveWithObject: true }),
    );
  }
  return tiles.get(heightPx);
}
