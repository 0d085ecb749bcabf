import { exitCodes } from './errors.js'

/** Prints a value as one line of JSON. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

/** Prints rows in columns; the first row is the heading. Numbers are right-aligned. */
export function printTable(rows: readonly (readonly (string | number)[])[]): void {
  process.stdout.write(`${tableText(rows)}\n`)
}

/** Like `printTable`, without a line end after the last row. */
export function tableText(rows: readonly (readonly (string | number)[])[]): string {
  const widths: number[] = []
  for (const row of rows) {
    for (const [column, cell] of row.entries())
      widths[column] = Math.max(widths[column] ?? 0, String(cell).length)
  }
  const lines = rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0
      return typeof cell === 'number' ? String(cell).padStart(width) : cell.padEnd(width)
    })
    return cells.join('  ').trimEnd()
  })
  return lines.join('\n')
}

/**
 * Ends the program silently, with the exit code of SIGPIPE, when the reader of its output has ended (`| head`), and with a message when writing the
 * output fails for another reason, such as a full disk.
 */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') {
      process.exitCode = exitCodes.outputClosed
      return
    }
    process.stderr.write(`millrace: can't write the output: ${error.message}\n`)
    process.exit(1)
  })
}

/** Writes to stdout and resolves once the bytes have left the process; false if the reader has ended. */
export function writeOutput(bytes: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => process.stdout.write(bytes, (error) => resolve(!error)))
}

const refreshMs = 200

/** A progress line with a counter on stderr; shown only on a terminal. */
export class Progress {
  readonly #label: string
  readonly #startedMs = performance.now()
  readonly #shown: boolean
  #shownMs = 0

  constructor(label: string, shown = process.stderr.isTTY === true) {
    this.#label = label
    this.#shown = shown
  }

  update(count: number): void {
    const nowMs = performance.now()
    if (!this.#shown || nowMs - this.#shownMs < refreshMs) return
    this.#shownMs = nowMs
    const perSecond = Math.round(count / Math.max((nowMs - this.#startedMs) / 1000, 0.001))
    process.stderr.write(
      `\r\u001b[K${this.#label} ${count.toLocaleString('en')} messages, ${perSecond.toLocaleString('en')}/s`,
    )
  }

  done(): void {
    if (this.#shown && this.#shownMs > 0) process.stderr.write('\r\u001b[K')
  }
}

/** Human-readable bytes: 1.5 MB. */
export function formatBytes(bytes: number): string {
  if (bytes < 0) return 'unlimited'
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let unit = 0
  let value = bytes
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`
}

/** A human-readable duration: 3 d 4 h; -1 means forever. */
export function formatDuration(ms: number): string {
  if (ms < 0) return 'forever'
  const parts: string[] = []
  let rest = ms
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
    ['ms', 1],
  ] as const) {
    const count = Math.floor(rest / size)
    rest -= count * size
    if (count > 0) parts.push(`${count} ${unit}`)
  }
  return parts.slice(0, 2).join(' ') || '0 s'
}

/** A number of messages as text: 1 message, 2 messages. */
export function counted(messages: number): string {
  return `${messages} message${messages === 1 ? '' : 's'}`
}
