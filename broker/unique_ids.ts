import { randomInt } from 'node:crypto'
import { decodeBody, encodeBody, MillraceError } from '../protocol/index.js'
import { type Op, opKinds, type State } from '../storage/index.js'
import { bootsKey } from './state_keys.js'
import type { View } from './view.js'

/** Ids of one start; 2^53 ids in all, so there are 2^21 starts. */
const idsPerStart = 2 ** 32

/**
 * More starts than a lost end of the journal can hold in practice: a checkpoint, which each clean stop writes, keeps
 * the count.
 */
const lostStarts = 10_000
/** More topics than a lost end of the journal can hold in practice. */
const lostTopics = 65_536

/** Numbers to skip. */
export interface SkippedIds {
  /** Each start has 2^32 unique ids. */
  readonly starts: number
  readonly topicIds: number
}

/** The ids that lost blocks at the end of the journal may have used. */
export const skippedForLostEnd: SkippedIds = { starts: lostStarts, topicIds: lostTopics }

/**
 * The ids that a lost broker may have used after its backup: clients that knew it may still use them. The numbers are
 * random, because a backup can be restored more than once, and each of the brokers must skip to ids of its own.
 */
export function skippedForRestore(): SkippedIds {
  return { starts: randomInt(1_000, 1_000 + lostStarts), topicIds: randomInt(lostTopics, 16 * lostTopics) }
}

export function idsSkippedOp(skipped: SkippedIds): Op {
  return { kind: opKinds.idsSkipped, payload: encodeBody(skipped) }
}

export function decodeIdsSkipped(payload: Uint8Array): SkippedIds {
  return decodeBody(payload) as SkippedIds
}

/** Number of starts of the broker: the view of boot operations. */
export class StartCount implements View {
  readonly kinds = [opKinds.boot]
  readonly #state: State
  count = 0

  constructor(state: State) {
    this.#state = state
  }

  async load(): Promise<void> {
    const stored = await this.#state.get(bootsKey)
    if (stored !== undefined) this.count = new DataView(stored.buffer, stored.byteOffset).getUint32(0)
  }

  apply(): void {
    this.skip(1)
  }

  skip(starts: number): void {
    this.count += starts
    const value = Buffer.allocUnsafe(4)
    value.writeUInt32BE(this.count)
    this.#state.put(bootsKey, value)
  }
}

const nothing = new Uint8Array(0)

/** Counts one start. */
export const bootOp: Op = { kind: opKinds.boot, payload: nothing }

/**
 * Numbers that are unique forever, without a write for each: the count of starts, and a counter within a start. A
 * broker that runs for very long counts as started again before the counter is at its end.
 */
export class UniqueIds {
  readonly #starts: Pick<StartCount, 'count'>
  readonly #commit: (ops: readonly Op[]) => Promise<void>
  readonly #perStart: number
  #count = 0
  /** The start of the current counter. */
  #start: number
  #isRenewing = false

  /** @param perStart ids of one start, at most 2^32 */
  constructor(
    starts: Pick<StartCount, 'count'>,
    commit: (ops: readonly Op[]) => Promise<void>,
    perStart = idsPerStart,
  ) {
    this.#starts = starts
    this.#start = starts.count
    this.#commit = commit
    this.#perStart = perStart
  }

  /** @throws MillraceError STORAGE_FAILED if the ids are used up because commits have failed for a long time */
  next(): number {
    if (this.#starts.count !== this.#start) {
      this.#start = this.#starts.count
      this.#count = 0
    }
    if (++this.#count >= this.#perStart / 2) this.#renew()
    if (this.#count < this.#perStart) return this.#start * idsPerStart + this.#count
    throw new MillraceError('STORAGE_FAILED', 'the broker has no unique ids left, and cannot commit new ones')
  }

  #renew(): void {
    if (this.#isRenewing) return
    this.#isRenewing = true
    const ended = (): void => {
      this.#isRenewing = false
    }
    // After a failure, the next id tries again.
    this.#commit([bootOp]).then(ended, ended)
  }
}
