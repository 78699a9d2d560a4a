"use strict";
// The networks of a page: operations on arrays {d: numbers, s: shape}, as PyTorch names them. Each
// takes the arguments of the one it is named after, and the shape of its result.
function engine(spec, buffer) {
  const size = shape => shape.reduce((p, q) => p * q, 1);
  const strides = shape => shape.map((_, i) => size(shape.slice(i + 1)));
  const whole = v => v % 1 === 0.5 || v % 1 === -0.5 ? 2 * Math.round(v / 2) : Math.round(v);
  const sigmoid = v => 1 / (1 + Math.exp(-v));
  const erf = v => {
    const x = Math.abs(v), t = 1 / (1 + 0.3275911 * x);
    const p = 0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)));
    return Math.sign(v) * (1 - t * p * Math.exp(-x * x));
  };
  const each = f => (x, ...more) => ({ d: x.d.map(v => f(v, ...more)), s: x.s });

  // Elements of x by strides: each view of an array is one.
  function strided(x, shape, by, start = 0) {
    const d = new Float32Array(size(shape)), last = shape.length - 1, at = shape.map(() => 0);
    for (let i = 0, from = start; i < d.length; i++) {
      d[i] = x.d[from];
      for (let k = last; k >= 0; k--) {
        from += by[k];
        if (++at[k] < shape[k]) break;
        from -= by[k] * shape[k];
        at[k] = 0;
      }
    }
    return { d, s: shape };
  }
  const spread = (x, shape) => {
    if (typeof x === "number") return { d: new Float32Array(size(shape)).fill(x), s: shape };
    const own = strides(x.s), lead = shape.length - x.s.length;
    if (x.d.length === size(shape)) return { d: x.d, s: shape };
    return strided(x, shape, shape.map((_, k) => k < lead || x.s[k - lead] === 1 ? 0 : own[k - lead]));
  };
  const pair = f => (x, y, ...more) => {
    const shape = more.pop(), a = spread(x, shape), b = spread(y, shape), times = more[0] ?? 1;
    return { d: a.d.map((v, i) => f(v, b.d[i], times)), s: shape };
  };
  const place = (x, dim) => dim < 0 ? dim + x.s.length : dim;
  // The sum over some dims, 0 where they are null.
  function total(x, dims, shape, f = v => v) {
    const over = (dims && dims.length ? dims : x.s.map((_, k) => k)).map(k => place(x, k));
    const kept = x.s.map((n, k) => over.includes(k) ? 1 : n), d = new Float64Array(size(kept));
    const to = strided({ d: d.map((_, i) => i), s: kept }, x.s,
      strides(kept).map((by, k) => over.includes(k) ? 0 : by));
    x.d.forEach((v, i) => { d[to.d[i]] += f(v); });
    return { d: Float32Array.from(d), s: shape };
  }
  function padded(x, [left, right, top, bottom], value = 0) {
    const [n, channels, high, wide] = x.s, W = wide + left + right, H = high + top + bottom;
    const d = new Float32Array(n * channels * H * W).fill(value);
    for (let c = 0; c < n * channels; c++) {
      for (let r = 0; r < high; r++) {
        const from = (c * high + r) * wide;
        d.set(x.d.subarray(from, from + wide), (c * H + top + r) * W + left);
      }
    }
    return { d, s: [n, channels, H, W] };
  }
  function normalized(d, from, to, eps) {
    let mean = 0, square = 0;
    for (let i = from; i < to; i++) mean += d[i];
    mean /= to - from;
    for (let i = from; i < to; i++) square += (d[i] - mean) ** 2;
    const by = 1 / Math.sqrt(square / (to - from) + eps);
    for (let i = from; i < to; i++) d[i] = (d[i] - mean) * by;
  }

  function dot(a, at, b, from, n) {
    let p = 0, q = 0, r = 0, s = 0;
    const end = at + n;
    for (; at < end - 3; at += 4, from += 4) {
      p += a[at] * b[from];
      q += a[at + 1] * b[from + 1];
      r += a[at + 2] * b[from + 2];
      s += a[at + 3] * b[from + 3];
    }
    for (; at < end; at++, from++) p += a[at] * b[from];
    return p + q + r + s;
  }

  const ops = {
    view: (x, ...more) => ({ d: x.d, s: more.pop() }),
    relu: each(v => Math.max(0, v)),
    leaky_relu: each((v, slope) => v < 0 ? v * slope : v),
    gelu: each(v => 0.5 * v * (1 + erf(v * Math.SQRT1_2))),
    silu: each(v => v * sigmoid(v)),
    tanh: each(Math.tanh),
    sigmoid: each(sigmoid),
    softplus: each((v, beta, most) => v * beta > most ? v : Math.log1p(Math.exp(beta * v)) / beta),
    elu: each(v => v < 0 ? Math.expm1(v) : v),
    exp: each(Math.exp),
    log: each(Math.log),
    log1p: each(Math.log1p),
    sqrt: each(Math.sqrt),
    square: each(v => v * v),
    reciprocal: each(v => 1 / v),
    asinh: each(Math.asinh),
    atanh: each(Math.atanh),
    round: each(whole),
    clamp: each((v, low, high) => Math.min(high ?? Infinity, Math.max(low ?? -Infinity, v))),
    clamp_min: each((v, low) => Math.max(low, v)),
    clamp_max: each((v, high) => Math.min(high, v)),
    add: pair((a, b, times) => a + times * b),
    sub: pair((a, b, times) => a - times * b),
    rsub: pair((a, b, times) => b - times * a),
    mul: pair((a, b) => a * b),
    div: pair((a, b) => a / b),
    eq: pair((a, b) => +(a === b)),
    floor_divide: pair((a, b) => Math.floor(a / b)),
    remainder: pair((a, b) => a - b * Math.floor(a / b)),
    expand_as: (x, ...more) => spread(x, more.pop()),
    expand: (x, ...more) => spread(x, more.pop()),
    sum: (x, dims, keep, dtype, shape) => total(x, dims, shape),
    linalg_vector_norm: (x, order, dims, keep, dtype, shape) =>
      each(Math.sqrt)(total(x, dims, shape, v => v * v)),
    softmax(x, dim, dtype, shape) {
      const kept = x.s.map((n, k) => k === place(x, dim) ? 1 : n), top = x.d.reduce((a, b) => Math.max(a, b), -Infinity);
      const up = each(v => Math.exp(v - top))(x);
      return ops.div(up, total(up, [dim], kept), shape);
    },
    log_softmax: (...taken) => each(Math.log)(ops.softmax(...taken)),
    permute(x, dims, shape) {
      const by = strides(x.s);
      return strided(x, shape, dims.map(k => by[place(x, k)]));
    },
    transpose(x, first, second, shape) {
      const dims = x.s.map((_, k) => k), a = place(x, first), b = place(x, second);
      [dims[a], dims[b]] = [b, a];
      return ops.permute(x, dims, shape);
    },
    mT: (x, shape) => ops.transpose(x, -2, -1, shape),
    numpy_T: (x, shape) => ops.permute(x, x.s.map((_, k) => x.s.length - 1 - k), shape),
    addmm(b, x, w, beta, alpha, shape) {
      const made = ops.linear(x, ops.transpose(w, 0, 1, [w.s[1], w.s[0]]), null, shape);
      return ops.add(ops.mul(made, alpha, shape), b, beta, shape);
    },
    argmin(x, dim, keep, shape) {
      const k = place(x, dim), n = x.s[k], after = size(x.s.slice(k + 1)), d = new Float32Array(size(shape));
      for (let i = 0; i < d.length; i++) {
        const from = Math.floor(i / after) * n * after + i % after;
        for (let j = 1; j < n; j++) if (x.d[from + j * after] < x.d[from + d[i] * after]) d[i] = j;
      }
      return { d, s: shape };
    },
    slice(x, dim, start, end, step, shape) {
      const by = strides(x.s), k = place(x, dim), from = start ?? 0;
      const at = by[k] * (from < 0 ? from + x.s[k] : from);
      return strided(x, shape, by.map((one, i) => i === k ? one * step : one), at);
    },
    select(x, dim, index, shape) {
      const by = strides(x.s), k = place(x, dim), at = index < 0 ? index + x.s[k] : index;
      return strided(x, shape, by.filter((_, i) => i !== k), by[k] * at);
    },
    cat(parts, dim, shape) {
      const k = place(parts[0], dim), d = new Float32Array(size(shape)), after = size(shape.slice(k + 1));
      let at = 0;
      for (const x of parts) {
        const run = x.s[k] * after, step = shape[k] * after;
        for (let i = 0; i < x.d.length / run; i++) d.set(x.d.subarray(i * run, (i + 1) * run), i * step + at);
        at += run;
      }
      return { d, s: shape };
    },
    stack(parts, dim, shape) {
      const k = dim < 0 ? dim + shape.length : dim;
      return ops.cat(parts.map(x => ({ d: x.d, s: x.s.toSpliced(k, 0, 1) })), k, shape);
    },
    flip(x, dims, shape) {
      const over = dims.map(k => place(x, k)), by = strides(x.s);
      const start = over.reduce((sum, k) => sum + by[k] * (x.s[k] - 1), 0);
      return strided(x, shape, by.map((one, k) => over.includes(k) ? -one : one), start);
    },
    pad: (x, sides, mode, value) => padded(x, [...sides, 0, 0, 0, 0].slice(0, 4), value ?? 0),
    index(x, places, shape) {  // by one array of places, along the dim at which it stands
      const k = places.findIndex(one => one), at = places[k].d, run = size(x.s.slice(k + 1));
      const d = new Float32Array(size(shape)), n = x.s[k];
      for (let i = 0, to = 0; to < d.length; i++) {
        for (const j of at) {
          const from = (i * n + j) * run;
          d.set(x.d.subarray(from, from + run), to);
          to += run;
        }
      }
      return { d, s: shape };
    },
    glu(x, dim, shape) {
      const k = place(x, dim), half = x.s[k] / 2;
      const [a, b] = [0, half].map(from => ops.slice(x, k, from, null, 1, shape));
      return { d: a.d.map((v, i) => v * sigmoid(b.d[i])), s: shape };
    },
    linear(x, w, b, shape) {
      const [outs, ins] = w.s, d = new Float32Array(x.d.length / ins * outs);
      for (let i = 0; i < d.length; i++) {
        const o = i % outs;
        d[i] = (b ? b.d[o] : 0) + dot(w.d, o * ins, x.d, (i - o) / outs * ins, ins);
      }
      return { d, s: shape };
    },
    conv2d(x, w, b, stride, padding, dilation, groups, shape) {
      const [, outs, high, wide] = shape, [, ins, rows, columns] = w.s, [p, q] = padding;
      const { d: from, s: [, , H, W] } = padded(x, [q, q, p, p]), d = new Float32Array(size(shape));
      const n = ins * rows * columns, cells = high * wide, seen = new Float32Array(cells * n), part = outs / groups;
      for (let g = 0; g < groups; g++) {
        for (let r = 0, to = 0; r < high; r++) for (let z = 0; z < wide; z++) for (let i = g * ins; i < (g + 1) * ins; i++) {
          for (let k = 0; k < rows; k++) {
            let at = (i * H + r * stride[0] + k * dilation[0]) * W + z * stride[1];
            for (let m = 0; m < columns; m++, at += dilation[1]) seen[to++] = from[at];
          }
        }
        for (let o = g * part; o < (g + 1) * part; o++) for (let y = 0; y < cells; y++) {
          d[o * cells + y] = (b ? b.d[o] : 0) + dot(w.d, o * n, seen, y * n, n);
        }
      }
      return { d, s: shape };
    },
    conv_transpose2d(x, w, b, stride, padding, output, groups, dilation, shape) {
      const [, outs, high, wide] = shape, [, ins, rows, columns] = x.s, [, each, kh, kw] = w.s;
      const H = high + 2 * padding[0], W = wide + 2 * padding[1], d = new Float32Array(outs * H * W), seen = x.d;
      for (let i = 0; i < ins; i++) for (let c = 0; c < each; c++) {
        const o = Math.floor(i * groups / ins) * each + c;
        for (let k = 0; k < kh; k++) for (let m = 0; m < kw; m++) {
          const v = w.d[((i * each + c) * kh + k) * kw + m];
          for (let r = 0; r < rows; r++) {
            let y = (o * H + r * stride[0] + k * dilation[0]) * W + m * dilation[1];
            const from = (i * rows + r) * columns;
            for (let z = from; z < from + columns; z++, y += stride[1]) d[y] += v * seen[z];
          }
        }
      }
      const cut = strided({ d }, shape, [0, H * W, W, 1], padding[0] * W + padding[1]);
      if (b) cut.d.forEach((_, i) => { cut.d[i] += b.d[Math.floor(i / (high * wide))]; });
      return cut;
    },
    batch_norm(x, w, b, mean, variance, training, momentum, eps, fast, shape) {
      const after = size(shape.slice(2)), channels = shape[1];
      return { d: x.d.map((v, i) => {
        const c = Math.floor(i / after) % channels;
        return (v - mean.d[c]) / Math.sqrt(variance.d[c] + eps) * (w ? w.d[c] : 1) + (b ? b.d[c] : 0);
      }), s: shape };
    },
    group_norm(x, groups, w, b, eps, fast, shape) {
      const d = Float32Array.from(x.d), run = d.length / groups, after = size(shape.slice(2));
      for (let g = 0; g < groups; g++) normalized(d, g * run, (g + 1) * run, eps);
      return { d: d.map((v, i) => v * (w ? w.d[Math.floor(i / after)] : 1) + (b ? b.d[Math.floor(i / after)] : 0)), s: shape };
    },
    max_pool2d(x, kernel, stride, padding, dilation, ceil, shape) {
      const [, channels, high, wide] = shape, [p, q = p] = padding, by = stride.length ? stride : kernel;
      const more = Math.max(...kernel) + Math.max(...by);  // rounding up looks beyond the end
      const from = padded(x, [q, q + more, p, p + more], -Infinity), [, , H, W] = from.s;
      const d = new Float32Array(size(shape)).fill(-Infinity);
      for (let c = 0, y = 0; c < channels; c++) for (let r = 0; r < high; r++) for (let z = 0; z < wide; z++, y++) {
        for (let k = 0; k < kernel[0]; k++) for (let m = 0; m < (kernel[1] ?? kernel[0]); m++) {
          const at = (c * H + r * by[0] + k * (dilation[0] ?? 1)) * W + z * (by[1] ?? by[0]) + m * (dilation[1] ?? 1);
          if (from.d[at] > d[y]) d[y] = from.d[at];
        }
      }
      return { d, s: shape };
    },
    avg_pool2d(x, kernel, stride, padding, ceil, counted, divisor, shape) {
      const [, , H, W] = x.s, [, channels, high, wide] = shape, d = new Float32Array(size(shape));
      const [h, w = h] = kernel, [p, q = p] = padding, [down, right = down] = stride.length ? stride : kernel;
      for (let c = 0, y = 0; c < channels; c++) for (let r = 0; r < high; r++) for (let z = 0; z < wide; z++, y++) {
        const top = r * down - p, left = z * right - q, low = Math.min(top + h, H), end = Math.min(left + w, W);
        let sum = 0;
        for (let k = Math.max(top, 0); k < low; k++) for (let m = Math.max(left, 0); m < end; m++) sum += x.d[(c * H + k) * W + m];
        const seen = (low - Math.max(top, 0)) * (end - Math.max(left, 0));
        const all = (Math.min(top + h, H + p) - top) * (Math.min(left + w, W + q) - left);
        d[y] = sum / (divisor ?? (counted ? all : seen));
      }
      return { d, s: shape };
    },
    upsample_bilinear2d(x, to, aligned, ...more) {
      const shape = more.pop(), [, , H, W] = x.s, [, channels, high, wide] = shape, d = new Float32Array(size(shape));
      const at = (i, out, own) => {
        const from = aligned ? i * (own - 1) / Math.max(out - 1, 1) : Math.max((i + 0.5) * own / out - 0.5, 0);
        const low = Math.min(Math.floor(from), own - 1);
        return [low, Math.min(low + 1, own - 1), from - low];
      };
      const columns = Array.from({ length: wide }, (_, z) => at(z, wide, W));
      for (let c = 0, y = 0; c < channels; c++) for (let r = 0; r < high; r++) {
        const [up, down, v] = at(r, high, H), a = (c * H + up) * W, b = (c * H + down) * W;
        for (const [i, k, u] of columns) {
          d[y++] = (1 - v) * ((1 - u) * x.d[a + i] + u * x.d[a + k]) + v * ((1 - u) * x.d[b + i] + u * x.d[b + k]);
        }
      }
      return { d, s: shape };
    },
  };

  const kept = spec.arrays.map(({ at, kind, shape, scales }) => {
    const n = size(shape), stored = new { f4: Float32Array, i2: Int16Array, i1: Int8Array }[kind](buffer, at, n);
    if (kind === "f4") return { d: stored, s: shape };
    const by = new Float32Array(buffer, scales, shape[0]), wide = n / shape[0];
    const d = new Float32Array(stored);
    for (let r = 0, i = 0; r < shape[0]; r++) for (const end = i + wide; i < end; i++) d[i] *= by[r];
    return { d, s: shape };
  });
  const run = net => (...inputs) => {
    const made = inputs.map((d, k) => ({ d: Float32Array.from(d), s: net.inputs[k] }));
    const given = one => Array.isArray(one) ? one.map(given)
      : one && one.r !== undefined ? made[one.r] : one && one.w !== undefined ? kept[one.w] : one;
    for (const [name, taken, shape] of net.steps) made.push(ops[name](...taken.map(given), shape));
    return made[net.out].d;
  };
  const nets = Object.fromEntries(Object.entries(spec.nets).map(([name, net]) => [name, run(net)]));
  return { ...nets, kept };
}
