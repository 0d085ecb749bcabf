import { clearLine, cursorTo } from 'node:readline'
import type { WriteStream } from 'node:tty'
import { shownDuration } from './table.js'

/** Where progress goes: standard error. */
export type ProgressStream = Pick<NodeJS.WritableStream, 'write'> &
  Partial<Pick<WriteStream, 'isTTY' | 'columns'>>

const redrawMs = 1_000
/** Of a terminal that doesn't know its width. */
const columnsDefault = 80

/**
 * Tells the person who waits what is being done, for how long, and what remains: on a terminal in one line that is
 * written again and again, elsewhere a line each time.
 */
export class Progress {
  readonly #stream: ProgressStream
  readonly #startedMs = performance.now()
  readonly #scenarios: readonly string[]
  #scenario = -1
  #doing = ''
  #timer: NodeJS.Timeout | undefined

  /** @param scenarios names of all, in the order in which they run */
  constructor(stream: ProgressStream, scenarios: readonly string[]) {
    this.#stream = stream
    this.#scenarios = scenarios
    if (stream.isTTY) this.#timer = setInterval(() => this.#draw(), redrawMs).unref()
  }

  /** The next scenario begins. */
  next(): void {
    this.#scenario++
    this.show('')
  }

  /** What is being done now. */
  show(doing: string): void {
    this.#doing = doing
    if (this.#stream.isTTY) this.#draw()
    else this.#stream.write(`${this.#line()}\n`)
  }

  /** Writes a line that stays. */
  log(line: string): void {
    this.#erase()
    this.#stream.write(`${line}\n`)
    if (this.#stream.isTTY) this.#draw()
  }

  /** Leaves nothing behind on a terminal. */
  end(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#erase()
  }

  #draw(): void {
    if (this.#timer === undefined) return
    this.#erase()
    this.#stream.write(this.#line().slice(0, (this.#stream.columns || columnsDefault) - 1))
  }

  #erase(): void {
    if (!this.#stream.isTTY) return
    const stream = this.#stream as WriteStream
    cursorTo(stream, 0)
    clearLine(stream, 0)
  }

  #line(): string {
    const elapsed = shownDuration((performance.now() - this.#startedMs) / 1000)
    const scenario = this.#scenarios[this.#scenario] ?? ''
    const place = `${this.#scenario + 1} of ${this.#scenarios.length}`
    return `[${elapsed}] ${scenario} (${place})${this.#doing === '' ? '' : `: ${this.#doing}`}`
  }
}
