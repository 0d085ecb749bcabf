import type { CheckOptions } from './check.js'
import type { HistoryRecord } from './history.js'
import { finalDrain, type GroupPartition, type HistoryIndex } from './history_index.js'

/** Walks through time and knows the first message that a group should have processed and has not. */
export class ProcessedFrontier {
  readonly #view: GroupPartition
  readonly #records: readonly HistoryRecord[]
  readonly #processed = new Set<number>()
  #line = 0
  #position = 0

  constructor(index: HistoryIndex, view: GroupPartition, options: CheckOptions) {
    this.#view = view
    const begin = options.groupsBegin === 'first-delivery' ? lowestDelivered(view) : 0
    const records = finalDrain(index, view.partition)?.records ?? []
    this.#records = begin === 0 ? records : records.filter(([offset]) => offset >= begin)
  }

  /** Adds the processed messages up to this time, inclusive. Times must not go back. */
  advanceTo(at: number): void {
    const lines = this.#view.processed
    for (let line = lines[this.#line]; line !== undefined && line.at <= at; line = lines[++this.#line]) {
      for (const offset of line.offsets) this.#processed.add(offset)
    }
    while (this.#processed.has(this.#records[this.#position]?.[0] ?? -1)) this.#position++
  }

  /** The first unprocessed message of the final drain, or undefined. */
  get first(): HistoryRecord | undefined {
    return this.#records[this.#position]
  }

  /** Number of unprocessed messages below `offset`. */
  missingBelow(offset: number): number {
    let missing = 0
    for (let position = this.#position; position < this.#records.length; position++) {
      const candidate = this.#records[position]?.[0] ?? offset
      if (candidate >= offset) break
      if (!this.#processed.has(candidate)) missing++
    }
    return missing
  }
}

/** Lowest delivered offset of a group; Infinity without deliveries. */
export function lowestDelivered({ timeline }: GroupPartition): number {
  let lowest = Number.POSITIVE_INFINITY
  for (const event of timeline) {
    if (event.type !== 'delivered') continue
    for (const [offset] of event.records) if (offset < lowest) lowest = offset
  }
  return lowest
}
