import type { Random } from '../../helpers/random.js'
import type { Call, Delivered, Drained, HistoryEvent, HistoryRecord, Outcome } from './history.js'
import { type HistoryIndex, indexHistory, type Publish } from './history_index.js'

/** A history for changes: each change makes a copy. */
export class MutableHistory {
  readonly index: HistoryIndex

  constructor(
    readonly events: readonly HistoryEvent[],
    readonly rng: Random,
  ) {
    this.index = indexHistory(events)
  }

  /** One of them, if there is any. */
  pick<T>(items: readonly T[]): T | undefined {
    return items.length === 0 ? undefined : this.rng.pick(items)
  }

  /** An acknowledged publish with a known offset. */
  acked(): Publish | undefined {
    return this.pick(
      this.index.publishes.filter(({ outcome, offset }) => outcome === 'ok' && (offset ?? -1) >= 0),
    )
  }

  /** Inserts lines before the drains and sets their times. */
  insert(lines: readonly HistoryEvent[]): HistoryEvent[] {
    const position = this.events.findIndex(({ type }) => type === 'drained')
    const at = this.events[position - 1]?.at ?? 0
    return this.events.toSpliced(position, 0, ...lines.map((line, i) => ({ ...line, at: at + i + 1 })))
  }

  changeDrains(change: (line: Drained) => HistoryEvent): HistoryEvent[] {
    return this.events.map((event) => (event.type === 'drained' ? change(event) : event))
  }

  changeOutcome({ process, notedAt, call }: Publish, change: Partial<Outcome>): HistoryEvent[] {
    const id = this.idOf(call)
    return this.events.map((event) => {
      const same = 'id' in event && event.id === id && event.process === process && event.at === notedAt
      return same && event.type !== 'invoke' ? { ...event, ...change } : event
    })
  }

  idOf(call: Call): number {
    const invoke = this.events.find((event) => event.type === 'invoke' && event.call === call)
    return invoke?.type === 'invoke' ? invoke.id : 0
  }

  /** Changes the records of every line that has some. */
  changeRecords(
    change: (record: HistoryRecord, line: Drained | Delivered) => HistoryRecord | undefined,
  ): HistoryEvent[] {
    return this.events.map((event) => {
      if (event.type !== 'drained' && event.type !== 'delivered') return event
      return {
        ...event,
        records: event.records.flatMap((record) => {
          const changed = change(record, event)
          return changed === undefined ? [] : [changed]
        }),
      }
    })
  }
}
