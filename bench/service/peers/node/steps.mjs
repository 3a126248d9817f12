// The three steps with sharp: validate, resize, watermark and encode.
import sharp from "sharp";

const BOX = { width: 800, height: 600 };
const MAX_PIXELS = 100_000_000;
const TEXT = "Processed by Image Platform";
const tiles = new Map();

sharp.cache(false); // no image is processed twice

export const steps = [
  ["validation", validate],
  ["resize", resize],
  ["watermark", watermark],
];

async function validate(state) {
  const metadata = await sharp(state.content, { limitInputPixels: MAX_PIXELS }).metadata();
  if (metadata.format !== "jpeg") throw new Error(`${metadata.format} is not accepted, only jpeg`);
  state.original = { width: metadata.width, height: metadata.height };
  return { result: "valid", format: metadata.format };
}

// Resizes to raw pixels: watermarking those is cheaper than composing and resizing in one pipeline.
async function resize(state) {
  const { data, info } = await sharp(state.content, { limitInputPixels: MAX_PIXELS, failOn: "error" })
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
  const tile = await textTile(Math.round(Math.min(width, height) * 0.045));
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

function textTile(heightPx) {
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
