import type {
  Call,
  Delivered,
  Drained,
  HistoryEvent,
  HistoryRecord,
  Outcome,
  OutcomeFields,
  Processed,
} from './history.js'

/** Builds a small history line by line, for tests: 10 us between two lines, and everything in topic `t`. */
export class HandMade {
  readonly events: HistoryEvent[] = []
  #at = 0
  #ids = 0

  get now(): number {
    return this.#at
  }

  tick(us = 10): number {
    this.#at += us
    return this.#at
  }

  invoke(process: string, call: Call): number {
    const id = ++this.#ids
    this.events.push({ type: 'invoke', at: this.tick(), process, id, call })
    return id
  }

  outcome(process: string, id: number, type: Outcome['type'], result: OutcomeFields = {}): this {
    this.events.push({ type, at: this.tick(), process, id, ...result })
    return this
  }

  begin(process: string, value: string, lane = 'a'): number {
    return this.invoke(process, { op: 'publish', topic: 't', value, lane })
  }

  /** A publish with an immediate acknowledgement. */
  publish(process: string, value: string, offset: number, partition = 0, lane = 'a'): this {
    return this.outcome(process, this.begin(process, value, lane), 'ok', { partition, offset })
  }

  assigned(process: string, epoch?: number, group: string | null = 'g', partition = 0): this {
    const partitions = [{ topic: 't', partition }]
    const type = 'assigned'
    this.events.push({
      type,
      at: this.tick(),
      process,
      group,
      partitions,
      ...(epoch !== undefined && { epoch }),
    })
    return this
  }

  revoked(process: string, group: string | null = 'g', partition = 0): this {
    const partitions = [{ topic: 't', partition }]
    this.events.push({ type: 'revoked', at: this.tick(), process, group, partitions })
    return this
  }

  delivered(process: string, records: readonly HistoryRecord[], changes: Partial<Delivered> = {}): this {
    const type = 'delivered'
    const line = { type, at: this.tick(), process, group: 'g', topic: 't', partition: 0, records } as const
    this.events.push({ ...line, ...changes })
    return this
  }

  processed(process: string, offsets: readonly number[], changes: Partial<Processed> = {}): this {
    const type = 'processed'
    const line = { type, at: this.tick(), process, group: 'g', topic: 't', partition: 0, offsets } as const
    this.events.push({ ...line, ...changes })
    return this
  }

  commit(process: string, offset: number, epoch?: number): this {
    const call = { op: 'commit', group: 'g', topic: 't', partition: 0, offset } as const
    const id = this.invoke(process, epoch === undefined ? call : { ...call, epoch })
    return this.outcome(process, id, 'ok')
  }

  /** A read of a committed offset. */
  committed(offset: number): this {
    const id = this.invoke('admin', { op: 'committed', group: 'g', topic: 't', partition: 0 })
    return this.outcome('admin', id, 'ok', { offset })
  }

  fault(phase: 'inject' | 'heal', name = 'kill'): this {
    this.events.push({ type: 'fault', at: this.tick(), process: 'faults', phase, name })
    return this
  }

  drain(drain: number, records: readonly HistoryRecord[], changes: Partial<Drained> = {}): this {
    const [first, last] = [records[0], records.at(-1)]
    const line = { type: 'drained', at: this.tick(), process: 'drain', topic: 't', partition: 0 } as const
    const offsets = { startOffset: first?.[0] ?? 0, endOffset: (last?.[0] ?? -1) + 1 }
    this.events.push({ ...line, drain, ...offsets, records, ...changes })
    return this
  }

  /** Drains 1 and 2 with the same content. */
  drains(records: readonly HistoryRecord[], changes: Partial<Drained> = {}): this {
    return this.drain(1, records, changes).drain(2, records, changes)
  }
}
