import { type BatchHeader, decodeBody, encodeBody } from '../../protocol/index.js'
import type { State } from '../../storage/index.js'
import { logIdOfProducerKey, producerKey, tableEntries, viewTables } from '../state_keys.js'
import type { Partition } from './partition.js'
import {
  decodeProducerState,
  encodeProducerState,
  type ProducerState,
  type ProducerTable,
} from './producers.js'

export interface ProducerLimits {
  readonly producersPerPartitionMax: number
  readonly producersMax: number
  readonly producerIdleMs: number
  /** The wall clock otherwise. A producer must not look older than it is because the clock was set back for a moment. */
  readonly clock?: { readonly latestMs: number } | undefined
}

/** A producer as it was when its silence was noticed. */
export type SilentProducer = readonly [logId: number, producerId: number, epoch: number, nextSequence: number]

/** Payload of producersForgotten; stands on disk. */
export function encodeProducersForgotten(silent: readonly SilentProducer[]): Uint8Array {
  return encodeBody(silent)
}

function decodeProducersForgotten(payload: Uint8Array): readonly SilentProducer[] {
  return decodeBody(payload) as SilentProducer[]
}

/**
 * The idempotent producers of all partitions: the fold over record batches and producersForgotten. Only that operation
 * forgets producers, for their silence and for the limits, so that every reader of the journal knows the same ones
 * whatever its settings are.
 */
export class ProducersView {
  readonly #state: State
  readonly #limits: ProducerLimits
  readonly #withPending = new Set<ProducerTable>()
  /** Not in the state yet, with the ids of their logs. A busy producer changes far more often than it is stored. */
  readonly #changed = new Map<ProducerState, number>()
  /** Partitions with producers that may be over a limit. */
  readonly #over = new Set<Partition>()
  #count = 0
  /** Called when there are more producers than a limit allows; see `excess`. */
  onExcess: () => void = () => {}

  constructor(state: State, limits: ProducerLimits) {
    this.#state = state
    this.#limits = limits
  }

  /** Producers that are remembered, counted once for each partition. */
  get count(): number {
    return this.#count
  }

  async load(partitionOf: (logId: number) => Partition | undefined): Promise<void> {
    const byPartition = new Map<Partition, ReturnType<typeof decodeProducerState>[]>()
    for await (const [key, value] of tableEntries(this.#state, viewTables.producer)) {
      const partition = partitionOf(logIdOfProducerKey(key))
      if (partition === undefined) continue
      const states = byPartition.get(partition)
      if (states === undefined) byPartition.set(partition, [decodeProducerState(value)])
      else states.push(decodeProducerState(value))
    }
    for (const [partition, states] of byPartition) {
      states.sort((a, b) => a.lastUsedMs - b.lastUsedMs)
      for (const state of states) partition.producers.load(state)
      this.#count += states.length
    }
  }

  /** To be called when batches were accepted that are not committed yet. */
  hasPending(table: ProducerTable): void {
    this.#withPending.add(table)
  }

  /** Folds the header of a committed batch. */
  appended(partition: Partition, header: BatchHeader): void {
    if (header.producerId === 0) return
    const table = partition.producers
    const nowMs = this.#limits.clock?.latestMs ?? Date.now()
    const known = table.size
    const state = table.applied(header, nowMs)
    if (!table.hasPending) this.#withPending.delete(table)
    this.#changed.set(state, partition.log.id)
    this.#count += table.size - known
    const { producersPerPartitionMax, producersMax } = this.#limits
    const isOver = table.size > producersPerPartitionMax || this.#count > producersMax
    if (!isOver || table.size === 1) return
    this.#over.add(partition)
    this.onExcess()
  }

  /**
   * The producers to forget for the limits, at most `countMax`: in each partition those with the longest silence. For the
   * limit of all partitions, those that went over it give up theirs in turn, and each keeps its newest producer.
   */
  excess(countMax: number): readonly SilentProducer[] {
    const { producersPerPartitionMax, producersMax } = this.#limits
    const found: SilentProducer[] = []
    const sources: { readonly take: () => boolean }[] = []
    for (const partition of this.#over) {
      const { producers: table, log } = partition
      const states = table.states[Symbol.iterator]()
      let left = table.size
      const take = (): boolean => {
        const state = left > 1 && found.length < countMax ? states.next().value : undefined
        if (state === undefined) return false
        found.push([log.id, state.producerId, state.epoch, state.nextSequence])
        left--
        return true
      }
      while (left > producersPerPartitionMax && take());
      sources.push({ take })
    }
    const leftMax = (): boolean => this.#count - found.length > producersMax
    for (let open = sources; leftMax() && open.length > 0; )
      open = open.filter(({ take }) => leftMax() && take())
    if (found.length === 0) this.#over.clear()
    return found
  }

  /** Adds to `silent` the producers of a partition that were silent for too long, until it has `countMax`. */
  findSilent(partition: Partition, nowMs: number, silent: SilentProducer[], countMax: number): void {
    const table = partition.producersIfAny
    if (table === undefined || table.hasPending) return
    const beforeMs = nowMs - this.#limits.producerIdleMs
    for (const { producerId, lastUsedMs, epoch, nextSequence } of table.states) {
      if (lastUsedMs >= beforeMs || silent.length >= countMax) return
      silent.push([partition.log.id, producerId, epoch, nextSequence])
    }
  }

  /**
   * Forgets producers, as an operation of the journal says: `lastUsedMs` depends on when a broker read a batch, so the
   * decision must be in the journal. A producer that has published since the decision stays.
   */
  applyForgotten(payload: Uint8Array, partitionOf: (logId: number) => Partition | undefined): void {
    for (const [logId, producerId, epoch, nextSequence] of decodeProducersForgotten(payload)) {
      const partition = partitionOf(logId)
      const state = partition?.producersIfAny?.get(producerId)
      if (partition === undefined || state?.epoch !== epoch || state.nextSequence !== nextSequence) continue
      this.#forget(partition, state)
    }
  }

  /** The partition is gone. */
  dropped(partition: Partition): void {
    const table = partition.producersIfAny
    if (table === undefined) return
    for (const state of [...table.states]) this.#forget(partition, state)
    this.#withPending.delete(table)
    this.#over.delete(partition)
  }

  /** Writes the changes since the last save into the state. */
  save(): void {
    for (const [state, logId] of this.#changed)
      this.#state.put(producerKey(logId, state.producerId), encodeProducerState(state))
    this.#changed.clear()
  }

  /** Discards batches that were accepted and not committed. */
  rolledBack(): void {
    for (const table of this.#withPending) table.rolledBack()
    this.#withPending.clear()
  }

  #forget(partition: Partition, state: ProducerState): void {
    partition.producers.forget(state.producerId)
    this.#changed.delete(state)
    this.#state.del(producerKey(partition.log.id, state.producerId))
    this.#count--
  }
}
