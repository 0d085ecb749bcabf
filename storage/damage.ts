import { damageKey, positionOf, stateTables, tableRange } from './keys.js'
import type { State } from './state.js'

/** Offsets from `from` to before `to`. */
export interface OffsetRange {
  readonly from: number
  readonly to: number
}

/** Most ranges that the store remembers; above it only reports that there are more. */
const rangesMax = 10_000
/** Most ranges in one line of a report. */
const rangesInLineMax = 60
const linesMax = 100
const logIdAt = 1
const fromAt = 5

/**
 * Lost offsets: acknowledged and unreadable, by log. The state keeps them over restarts until retention passes them.
 */
export class Damage {
  readonly #state: State
  readonly #byLog = new Map<number, OffsetRange[]>()
  #count = 0

  constructor(state: State) {
    this.#state = state
  }

  /** @throws MillraceError CORRUPT */
  async load(): Promise<void> {
    const entries = await this.#state.range({ ...tableRange(stateTables.damage), limit: rangesMax })
    for (const [key, value] of entries) {
      const logId = Buffer.from(key).readUInt32BE(logIdAt)
      this.#insert(logId, { from: positionOf(key, fromAt), to: positionOf(value) })
    }
  }

  get ranges(): [logId: number, range: OffsetRange][] {
    return [...this.#byLog].flatMap(([logId, ranges]) =>
      ranges.map((range): [number, OffsetRange] => [logId, range]),
    )
  }

  /** Returns whether a part of the range was new. */
  note(logId: number, range: OffsetRange): boolean {
    const ranges = this.#byLog.get(logId) ?? []
    if (range.from >= range.to || ranges.some(({ from, to }) => from <= range.from && to >= range.to))
      return false
    const joined = ranges.filter(({ from, to }) => from <= range.to && to >= range.from)
    if (joined.length === 0 && this.#count >= rangesMax) return false
    for (const { from } of joined) this.#remove(logId, from)
    const all = [...joined, range]
    const from = Math.min(...all.map((one) => one.from))
    const to = Math.max(...all.map((one) => one.to))
    this.#insert(logId, { from, to })
    this.#state.put(damageKey(logId, from), encodeEnd(to))
    return true
  }

  /** Removes a range that is readable again. */
  forget(logId: number, { from }: OffsetRange): void {
    this.#remove(logId, from)
  }

  /** Removes ranges before this offset, which retention has dropped. */
  trimmed(logId: number, startOffset: number): void {
    for (const { from, to } of this.#byLog.get(logId) ?? []) if (to <= startOffset) this.#remove(logId, from)
  }

  /** Names the lost offsets of a log, for humans; undefined if there are none. */
  textOf(logId: number): string | undefined {
    const ranges = this.#byLog.get(logId)
    if (ranges === undefined) return undefined
    const named = ranges.slice(0, rangesInLineMax).map(({ from, to }) => `${from} to ${to - 1}`)
    const more = ranges.length - named.length
    const rest = more > 0 ? ` and ${more} more ranges` : ''
    return `offsets ${named.join(', ')}${rest} are damaged or lost`
  }

  /** Names the lost offsets, for humans: a line for each log. */
  lines(nameOf: (logId: number) => string): string[] {
    const lines: string[] = []
    for (const logId of this.#byLog.keys()) {
      if (lines.length === linesMax) break
      lines.push(`${nameOf(logId)}: ${this.textOf(logId)}`)
    }
    if (this.#byLog.size > linesMax) lines.push(`${this.#byLog.size - linesMax} more partitions are damaged`)
    return lines
  }

  #insert(logId: number, range: OffsetRange): void {
    const ranges = this.#byLog.get(logId) ?? []
    this.#byLog.set(
      logId,
      [...ranges, range].sort((a, b) => a.from - b.from),
    )
    this.#count++
  }

  #remove(logId: number, from: number): void {
    const left = (this.#byLog.get(logId) ?? []).filter((range) => range.from !== from)
    if (left.length === 0) this.#byLog.delete(logId)
    else this.#byLog.set(logId, left)
    this.#count--
    this.#state.del(damageKey(logId, from))
  }
}

function encodeEnd(to: number): Buffer {
  const value = Buffer.allocUnsafe(8)
  value.writeBigUInt64BE(BigInt(to))
  return value
}
