// Renders the parts of @dicebear/lorelei, each alone, as PNG images.
//
//   node render.mjs FOLDER
//
// There is a set of images for each size of a face, of 16 times that size. A part's inks are drawn
// in pure red and green, so that an image holds how much of each ink covers a pixel: its
// premultiplied channels. FOLDER/parts.json lists the images in the order in which they cover each
// other, with the names of their inks.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';
import * as lorelei from './node_modules/@dicebear/lorelei/lib/components/index.js';

const SIZES = [32, 48, 64];
const TIMES = 16;
const [LEFT, TOP, SIDE] = [78, 52, 850]; // of the drawing that an image shows: to the shoulders
const [RED, GREEN] = ['#f00', '#0f0'];

// Layers from the back to the front: the part, its inks, and what outlines it. Hair and beard, which
// have no lines in the original, get a `shade`; lines of the face that are thinner than a pixel
// would fade, and grow by `thicker`.
const LAYERS = [
  { name: 'hair behind', part: 'hair', inks: ['hair', 'shade'], outline: 'shade' },
  { name: 'head', part: 'head', inks: ['skin', 'line'], outline: 'lines' },
  { name: 'eyes', part: 'eyes', inks: ['line', 'white'], outline: 'thicker' },
  { name: 'eyebrows', part: 'eyebrows', inks: ['brow'], outline: 'thicker' },
  { name: 'earrings', part: 'earrings', inks: ['metal'], outline: 'thicker' },
  { name: 'freckles', part: 'freckles', inks: ['freckle'], outline: 'thicker' },
  { name: 'nose', part: 'nose', inks: ['line'], outline: 'thicker' },
  { name: 'beard', part: 'beard', inks: ['hair', 'shade'], outline: 'shade' },
  { name: 'mouth', part: 'mouth', inks: ['lips'], outline: 'thicker' },
  { name: 'glasses', part: 'glasses', inks: ['frame', 'white'], outline: 'thicker' },
  { name: 'hair', part: 'hair', inks: ['hair', 'shade'], outline: 'shade' },
  { name: 'flowers', part: 'hairAccessories', inks: ['petal', 'white'], outline: 'thicker' },
];

// Colors that are options become red; the fixed ones, black lines and white fill, green.
const COLORS = new Proxy({}, { get: () => RED });
const HEAD = '<!-- head -->';

function fragment({ name, part }, variant) {
  if (part !== 'hair') {
    return lorelei[part][variant]({}, COLORS).replaceAll(/"#(000|fff)"/g, `"${GREEN}"`);
  }
  const [behind, before] = lorelei.hair[variant]({ head: { value: () => HEAD } }, COLORS).split(HEAD);
  return name === 'hair' ? before : behind;
}

function outlined(svg, outline, size) {
  const pixel = SIDE / size;
  const stroke = (color, width) =>
    `stroke="${color}" stroke-width="${width.toFixed(2)}" stroke-linejoin="round"`;
  if (outline === 'lines') {
    return svg.replaceAll(`fill="${GREEN}"`, `fill="${GREEN}" ${stroke(GREEN, pixel / 5)}`);
  }
  const look = outline === 'shade' ? stroke(GREEN, 1.2 * pixel) : stroke(RED, 0.6 * pixel - 3);
  return `<g ${look} paint-order="stroke">${svg}</g>`;
}

function rendered(svg, size) {
  const box = `viewBox="${LEFT} ${TOP} ${SIDE} ${SIDE}"`;
  const document = `<svg xmlns="http://www.w3.org/2000/svg" ${box} fill="none">${svg}</svg>`;
  return new Resvg(document, { fitTo: { mode: 'width', value: TIMES * size } }).render().asPng();
}

const folder = process.argv[2];
SIZES.forEach((size) => mkdirSync(join(folder, `${size}`), { recursive: true }));
const layers = LAYERS.map((layer) => {
  const images = Object.keys(lorelei[layer.part]).sort().map((variant) => {
    const svg = fragment(layer, variant);
    const file = `${layer.name} ${variant}.png`;
    for (const size of SIZES) {
      writeFileSync(join(folder, `${size}`, file), rendered(outlined(svg, layer.outline, size), size));
    }
    return file;
  });
  return { name: layer.name, inks: layer.inks, images };
});
writeFileSync(join(folder, 'parts.json'), JSON.stringify({ sizes: SIZES, layers }, null, 1));
