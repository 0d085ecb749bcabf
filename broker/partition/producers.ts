import type { BatchHeader } from '../../protocol/index.js'

const sequenceModulus = 0x1_0000_0000
/** Remembered batches of a producer: a repeat gets their offset. */
export const rememberedBatchesMax = 5

/** An appended batch of a producer. */
export interface RememberedBatch {
  readonly baseSequence: number
  readonly recordCount: number
  readonly baseOffset: number
}

/** The state of one producer in one partition; all of it is durable. */
export interface ProducerState {
  readonly producerId: number
  epoch: number
  /** Expected sequence of the next record. */
  nextSequence: number
  /** Wall clock of the broker at the newest batch. */
  lastUsedMs: number
  /** The newest batches of this epoch, oldest first. */
  batches: RememberedBatch[]
}

/** Settles when the batches of the same request are durable or have failed. */
export interface PendingCommit {
  /** Set before other code can see the batches. */
  committed: Promise<void>
}

/** An accepted batch that waits for its commit. */
export interface PendingBatch extends RememberedBatch {
  readonly producerId: number
  readonly epoch: number
  readonly commit: PendingCommit
  /** -1 until it is assigned. */
  baseOffset: number
}

export type SequenceVerdict =
  | { readonly kind: 'append' }
  /** A duplicate of an earlier batch. */
  | { readonly kind: 'duplicate'; readonly batch: RememberedBatch; readonly pending?: PendingBatch }
  /** A duplicate of a batch so old that its offset is forgotten. */
  | { readonly kind: 'forgotten' }
  /** A newer epoch has published. */
  | { readonly kind: 'fenced'; readonly epoch: number }
  /** Records are missing before this batch. */
  | { readonly kind: 'gap'; readonly expected: number }

const append: SequenceVerdict = { kind: 'append' }
const forgotten: SequenceVerdict = { kind: 'forgotten' }

/**
 * The idempotent producers of one partition. `check` judges a batch before its append and counts accepted
 * batches; `applied` adds committed ones, live and in replay; `rolledBack` drops the others.
 *
 * The rules, for sequences modulo 2^32, one for each record:
 * - the broker appends the expected sequence; a batch before it is a duplicate; anything else is a gap;
 * - a higher epoch begins at sequence 0, a lower one is fenced;
 * - an unknown producer begins at sequence 0 too. Kafka lets it begin anywhere, for producers that were
 * silent for longer than the broker remembers them. But if the broker refuses a first batch (a full disk) and accepts
 * the second one,
 * which is already on its way, the retry of the first would look like a duplicate: acknowledged and lost.
 */
export class ProducerTable {
  /** In the order of their newest batch, oldest first. */
  readonly #states = new Map<number, ProducerState>()
  #pending: PendingBatch[] = []

  get size(): number {
    return this.#states.size
  }

  get hasPending(): boolean {
    return this.#pending.length > 0
  }

  get(producerId: number): ProducerState | undefined {
    return this.#states.get(producerId)
  }

  /** All producers, those with the longest silence first. */
  get states(): Iterable<ProducerState> {
    return this.#states.values()
  }

  check(header: BatchHeader): SequenceVerdict {
    const { producerId, producerEpoch, baseSequence, recordCount } = header
    const state = this.#states.get(producerId)
    const last = this.#lastPending(producerId)
    const epoch = last?.epoch ?? state?.epoch
    if (epoch === undefined) return baseSequence === 0 ? append : { kind: 'gap', expected: 0 }
    if (producerEpoch < epoch) return { kind: 'fenced', epoch }
    if (producerEpoch > epoch) return baseSequence === 0 ? append : { kind: 'gap', expected: 0 }
    const expected = last === undefined ? (state as ProducerState).nextSequence : sequenceAfter(last)
    if (baseSequence === expected) return append
    if (!endsBefore(header, expected)) return { kind: 'gap', expected }
    const isRepeat = (batch: RememberedBatch): boolean =>
      batch.baseSequence === baseSequence && batch.recordCount === recordCount
    const pending = this.#pending.find(
      (batch) => batch.producerId === producerId && batch.epoch === producerEpoch && isRepeat(batch),
    )
    if (pending !== undefined) return { kind: 'duplicate', batch: pending, pending }
    const known = state?.epoch === producerEpoch ? state.batches.find(isRepeat) : undefined
    return known === undefined ? forgotten : { kind: 'duplicate', batch: known }
  }

  /** Counts a batch that `check` accepted, until it is applied, withdrawn or rolled back. */
  accept(header: BatchHeader, commit: PendingCommit): PendingBatch {
    const { producerId, producerEpoch: epoch, baseSequence, recordCount } = header
    const batch = { producerId, epoch, baseSequence, recordCount, baseOffset: -1, commit }
    this.#pending.push(batch)
    return batch
  }

  /** The store did not take the batch after all. */
  withdraw(batch: PendingBatch): void {
    this.#pending = this.#pending.filter((other) => other !== batch)
  }

  /** Applies a committed batch and returns the new state. */
  applied(header: BatchHeader, nowMs: number): ProducerState {
    const { producerId, producerEpoch, baseSequence, recordCount, baseOffset } = header
    const first = this.#pending[0]
    if (first !== undefined && first.baseOffset === baseOffset) this.#pending.shift()
    const state = this.#states.get(producerId) ?? {
      producerId,
      epoch: producerEpoch,
      nextSequence: 0,
      lastUsedMs: nowMs,
      batches: [],
    }
    if (state.epoch !== producerEpoch) state.batches = []
    if (state.batches.length === rememberedBatchesMax) state.batches.shift()
    const batch = { baseSequence, recordCount, baseOffset }
    state.batches.push(batch)
    state.epoch = producerEpoch
    state.nextSequence = sequenceAfter(batch)
    state.lastUsedMs = nowMs
    this.#states.delete(producerId)
    this.#states.set(producerId, state)
    return state
  }

  /** Loads a stored state; call it in the order of `lastUsedMs`. */
  load(state: ProducerState): void {
    this.#states.set(state.producerId, state)
  }

  forget(producerId: number): void {
    this.#states.delete(producerId)
  }

  rolledBack(): void {
    this.#pending = []
  }

  #lastPending(producerId: number): PendingBatch | undefined {
    for (let i = this.#pending.length - 1; i >= 0; i--) {
      if (this.#pending[i]?.producerId === producerId) return this.#pending[i]
    }
    return undefined
  }
}

function sequenceAfter({ baseSequence, recordCount }: RememberedBatch): number {
  return (baseSequence + recordCount) % sequenceModulus
}

/** Whether the whole batch comes before `expected` on the circle of sequences, seen from the nearer side. */
function endsBefore({ baseSequence, recordCount }: BatchHeader, expected: number): boolean {
  const behind = (expected - baseSequence + sequenceModulus) % sequenceModulus
  return behind >= recordCount && behind < sequenceModulus / 2
}

const stateHeadBytes = 24
const batchBytes = 16

/**
 * The stored form of a state, little-endian: f64 producerId, f64 lastUsedMs, u32 epoch, u32 nextSequence, then for each
 * remembered batch u32 baseSequence, u32 recordCount, f64 baseOffset. On disk, never changes.
 */
export function encodeProducerState(state: ProducerState): Uint8Array {
  const { producerId, lastUsedMs, epoch, nextSequence, batches } = state
  const bytes = new Uint8Array(stateHeadBytes + batches.length * batchBytes)
  const view = new DataView(bytes.buffer)
  view.setFloat64(0, producerId, true)
  view.setFloat64(8, lastUsedMs, true)
  view.setUint32(16, epoch, true)
  view.setUint32(20, nextSequence, true)
  let at = stateHeadBytes
  for (const { baseSequence, recordCount, baseOffset } of batches) {
    view.setUint32(at, baseSequence, true)
    view.setUint32(at + 4, recordCount, true)
    view.setFloat64(at + 8, baseOffset, true)
    at += batchBytes
  }
  return bytes
}

export function decodeProducerState(bytes: Uint8Array): ProducerState {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const batches: RememberedBatch[] = []
  for (let at = stateHeadBytes; at + batchBytes <= bytes.length; at += batchBytes) {
    batches.push({
      baseSequence: view.getUint32(at, true),
      recordCount: view.getUint32(at + 4, true),
      baseOffset: view.getFloat64(at + 8, true),
    })
  }
  return {
    producerId: view.getFloat64(0, true),
    lastUsedMs: view.getFloat64(8, true),
    epoch: view.getUint32(16, true),
    nextSequence: view.getUint32(20, true),
    batches,
  }
}
