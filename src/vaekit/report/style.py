"""The page's style sheet: light and dark, a phone's width and paper."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #23262b; --soft: #62676f; --rule: #e4e1da;
  --train: #1f6f94; --validation: #b4560f; --idle: #b9bcc2; --mark: #b4560f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --card: #1d2025; --ink: #e4e4e1; --soft: #9ba1aa; --rule: #31353c;
    --train: #6cb8dc; --validation: #eda268; --idle: #565b64; --mark: #eda268;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 3rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  -webkit-text-size-adjust: 100%; text-size-adjust: 100%; overflow-wrap: break-word;
}
main { max-width: 51rem; margin: 0 auto; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.25; font-weight: 650; letter-spacing: -0.01em; }
h2 { margin: 0 0 0.4rem; font-size: 1.15rem; line-height: 1.35; font-weight: 650; }
p { margin: 0 0 0.6rem; max-width: 46rem; }
p:last-child { margin-bottom: 0; }
header p { margin-top: 0.5rem; font-size: 1.1rem; color: var(--soft); }
section {
  margin-top: 1.5rem; padding: 1.5rem; background: var(--card);
  border: 1px solid var(--rule); border-radius: 0.75rem;
}
section.note { border-left: 4px solid var(--mark); }
figure { margin: 0; }
figcaption { color: var(--soft); }
figcaption + * { margin-top: 1.1rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 3px; }
img.pixels { image-rendering: pixelated; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem 1.25rem; }
svg { display: block; overflow: hidden; }
svg.small { flex: 1 1 14.5rem; max-width: 19rem; min-width: 0; }
svg.wide { width: 100%; max-width: 41rem; }
svg text { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
svg .title { fill: var(--ink); font-size: 13px; font-weight: 600; }
svg.wide text { font-size: 9.5px; }
svg.wide .title { font-size: 10.5px; }
svg line.rule { stroke: var(--rule); stroke-width: 1; }
svg line, svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .train { stroke: var(--train); }
svg .validation { stroke: var(--validation); }
svg line.validation, svg polyline.validation { stroke-dasharray: 5 3; }
svg circle.train, svg text.train { fill: var(--train); stroke: none; }
svg circle.validation, svg text.validation { fill: var(--validation); stroke: none; }
svg .active { fill: var(--train); }
svg .idle { fill: var(--idle); }
table { border-collapse: collapse; width: 100%; max-width: 46rem; line-height: 1.45; }
figure + table, p + table { margin-top: 1.1rem; }
th, td { padding: 0.45rem 0; border-top: 1px solid var(--rule); vertical-align: top; }
tr:first-child > * { border-top: 0; }
th { width: 38%; padding-right: 1rem; text-align: left; font-weight: 400; color: var(--soft); }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { padding: 1.75rem 0.75rem 2.5rem; }
  h1 { font-size: 1.5rem; }
  section { padding: 1.1rem 1rem; }
  svg.small { max-width: none; flex-basis: 100%; }
  svg.small text { font-size: 10px; }
  svg.wide text { font-size: 16px; }
  svg.wide .title { font-size: 17px; }
}
@media print {
  :root {
    --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #ccc;
    --train: #1f6f94; --validation: #b4560f; --idle: #b9bcc2; --mark: #b4560f;
  }
  body { padding: 0; font-size: 10.5pt; print-color-adjust: exact; }
  section { padding: 0.6rem 0; border: 0; border-top: 1px solid var(--rule); border-radius: 0; }
  section.note { padding-left: 0.8rem; }
  section, figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""
