/**
 * Draws the charts of the report, in the browser. `Chart` is Chart.js; html.ts puts both into the page, and the charts (charts.ts)
 * as JSON.
 */
const charts = JSON.parse(document.getElementById('charts').textContent)
const drawn = []
const numbers = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 4 })
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 })
const rowHeight = 30
const lineHeight = 13

/** A color of the page's style sheet, which has one for light and one for dark. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}

/** Whiskers from the smallest to the largest run, marks for the pipe and the target, and the figure beside the bar. */
const annotations = {
  id: 'annotations',
  afterDatasetsDraw(chart, _event, { bars }) {
    if (bars === undefined) return
    const { ctx, scales, chartArea } = chart
    const at = (value) =>
      Math.min(Math.max(scales.x.getPixelForValue(value), chartArea.left), chartArea.right)
    const font = getComputedStyle(document.body).fontFamily
    ctx.save()
    for (const [i, element] of chart.getDatasetMeta(0).data.entries()) {
      const bar = bars[i]
      const [from, to] = bar.range.map(at)
      const half = element.height / 2
      if (to - from > 1) strokeWhisker(ctx, from, to, element.y, half / 2)
      if (bar.pipe !== undefined) strokeMark(ctx, at(bar.pipe), element.y, half, color('pipe'), [])
      if (bar.target !== undefined) strokeMark(ctx, at(bar.target), element.y, half, color('target'), [3, 3])
      ctx.fillStyle = color('ink')
      ctx.font = `${bar.tone === 'millrace' ? '600 ' : ''}12px ${font}`
      ctx.textBaseline = 'middle'
      const marks = [bar.pipe, bar.target].filter((value) => value !== undefined).map(at)
      const width = ctx.measureText(bar.note).width
      ctx.fillText(bar.note, placeFor(width, Math.max(element.x, to), marks), element.y + 0.5)
    }
    ctx.restore()
  },
}

/** Behind the bar, where the text meets no mark. */
function placeFor(width, end, marks) {
  let x = end + 8
  for (const mark of marks.sort((a, b) => a - b)) if (mark > end && mark < x + width + 4) x = mark + 8
  return x
}

function strokeWhisker(ctx, from, to, y, half) {
  ctx.strokeStyle = color('whisker')
  ctx.lineWidth = 1.5
  ctx.setLineDash([])
  ctx.beginPath()
  for (const x of [from, to]) {
    ctx.moveTo(x, y - half)
    ctx.lineTo(x, y + half)
  }
  ctx.moveTo(from, y)
  ctx.lineTo(to, y)
  ctx.stroke()
}

function strokeMark(ctx, x, y, half, style, dash) {
  ctx.strokeStyle = style
  ctx.lineWidth = 2
  ctx.setLineDash(dash)
  ctx.beginPath()
  ctx.moveTo(x, y - half - 3)
  ctx.lineTo(x, y + half + 3)
  ctx.stroke()
}

function scale(title, logarithmic, more = {}, digits = [1]) {
  return {
    type: logarithmic ? 'logarithmic' : 'linear',
    title: {
      display: title !== '',
      text: logarithmic ? `${title}, logarithmic` : title,
      color: color('muted'),
    },
    grid: { color: color('line') },
    border: { display: false },
    ...more,
    ticks: {
      color: color('muted'),
      maxRotation: 0,
      includeBounds: logarithmic,
      callback: tickText(logarithmic, digits),
      ...more.ticks,
    },
  }
}

/** On a logarithmic scale only values that begin with one of these digits. */
function tickText(logarithmic, digits) {
  return (value) => {
    if (value === 0) return '0'
    const digit = Math.round(value / 10 ** Math.floor(Math.log10(Math.abs(value)) + 1e-9))
    return !logarithmic || digits.includes(digit) ? short.format(value) : ''
  }
}

function barConfig({ bars, unit, logarithmic }, width) {
  const all = bars.flatMap(({ value, range, pipe, target }) => [
    value,
    ...range,
    ...[pipe, target].filter((mark) => mark !== undefined),
  ])
  const smallest = Math.min(...all.filter((value) => value > 0))
  // A bar of a logarithmic scale begins nowhere: let the least be seen.
  const min = logarithmic ? 10 ** Math.floor(Math.log10(smallest / 1.5)) : 0
  return {
    type: 'bar',
    data: {
      labels: bars.map(({ label }) => label),
      datasets: [
        {
          data: bars.map(({ value }) => value),
          backgroundColor: bars.map(({ tone }) => color(`bar-${tone}`)),
          borderRadius: 2,
          barThickness: 15,
          base: min,
        },
      ],
    },
    options: {
      ...common(),
      indexAxis: 'y',
      layout: { padding: { right: 4 } },
      scales: {
        x: scale(unit, logarithmic, {
          min,
          max: roomFor(Math.max(...all), min, logarithmic, notesShare(bars, width)),
        }),
        y: {
          grid: { display: false },
          border: { color: color('line') },
          ticks: { color: color('ink'), autoSkip: false, font: { size: 12 } },
        },
      },
      plugins: {
        legend: { display: false },
        annotations: { bars },
        tooltip: { callbacks: { label: ({ dataIndex }) => tooltipLines(bars[dataIndex], unit) } },
      },
    },
    plugins: [annotations],
  }
}

/** The largest value of a scale on which the largest bar leaves a share of the width free. */
function roomFor(largest, smallest, logarithmic, share) {
  if (logarithmic) return smallest * (largest / smallest) ** (1 / (1 - share))
  return largest > 0 ? largest / (1 - share) : 1
}

/** How much of the width between the axes the figures beside the bars need. */
function notesShare(bars, width) {
  const ctx = document.createElement('canvas').getContext('2d')
  ctx.font = `600 12px ${getComputedStyle(document.body).fontFamily}`
  const widest = (texts) => Math.max(...texts.map((text) => ctx.measureText(text).width))
  const plotWidth = width - widest(bars.flatMap(({ label }) => label)) - 20
  return Math.min((widest(bars.map(({ note }) => note)) + 16) / Math.max(plotWidth, 1), 0.7)
}

function tooltipLines({ value, range, pipe, target }, unit) {
  const lines = [`median ${numbers.format(value)} ${unit}`]
  if (range[0] !== range[1])
    lines.push(`runs from ${numbers.format(range[0])} to ${numbers.format(range[1])}`)
  if (pipe !== undefined) lines.push(`pipe ${numbers.format(pipe)}`)
  if (target !== undefined) lines.push(`target ${numbers.format(target)}`)
  return lines
}

function lineConfig({ lines, x, y, logarithmic, categories }) {
  let other = 0
  const datasets = lines.map(({ label, isMillrace, points }, i) => {
    // With Millrace alone its lines are told apart by color too.
    const alone = lines.every((line) => line.isMillrace)
    const hue = color(isMillrace && (!alone || i === 0) ? 'bar-millrace' : `series-${(other++ % 7) + 1}`)
    return {
      label,
      data: points.map(([at, value]) => ({ x: at, y: value })),
      borderColor: hue,
      backgroundColor: hue,
      borderWidth: isMillrace ? 2.5 : 1.75,
      borderDash: other > 7 ? [5, 3] : [],
      pointRadius: categories === undefined ? 0 : 3,
      pointHitRadius: 8,
      clip: false,
      tension: 0,
    }
  })
  const named = categories === undefined ? {} : { min: 0, max: categories.length - 1 }
  const text = categories === undefined ? (value) => short.format(value) : (value) => categories[value] ?? ''
  return {
    type: 'line',
    data: { datasets },
    options: {
      ...common(),
      interaction: { mode: 'nearest', axis: 'x', intersect: false },
      scales: {
        x: scale(x, false, { ...named, ticks: { callback: text, ...(categories ? { stepSize: 1 } : {}) } }),
        y: scale(y, logarithmic, logarithmic ? {} : { beginAtZero: true }, [1, 2, 5]),
      },
      plugins: {
        legend: {
          display: lines.length > 1 || lines[0]?.label !== '',
          position: 'bottom',
          align: 'start',
          labels: { color: color('ink'), boxWidth: 14, boxHeight: 2, font: { size: 12 } },
        },
        tooltip: {
          callbacks: {
            title: ([item]) =>
              categories ? categories[item.parsed.x] : `${numbers.format(item.parsed.x)} ${x}`,
            label: ({ dataset, parsed }) => `${dataset.label}: ${numbers.format(parsed.y)} ${y}`,
          },
        },
      },
    },
  }
}

function common() {
  return { responsive: true, maintainAspectRatio: false, animation: false }
}

function heightOf({ bars, lines }) {
  if (bars === undefined) return 260 + 20 * Math.ceil(lines.length / 3)
  return bars.reduce((sum, { label }) => sum + rowHeight + (label.length - 1) * lineHeight, 52)
}

function draw() {
  for (const chart of drawn.splice(0)) chart.destroy()
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily
  for (const canvas of document.querySelectorAll('canvas[data-chart]')) {
    const chart = charts[Number(canvas.dataset.chart)]
    canvas.parentElement.style.height = `${heightOf(chart)}px`
    const width = canvas.parentElement.clientWidth
    drawn.push(new Chart(canvas, chart.kind === 'bars' ? barConfig(chart, width) : lineConfig(chart)))
  }
}

document.documentElement.classList.add('scripted')
draw()
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
