import { decodeBody, encodeBody } from '../../protocol/index.js'
import { opKinds, type State } from '../../storage/index.js'
import { tableEntries, viewTables } from '../state_keys.js'
import type { View } from '../view.js'

/** A client that repeats a transaction does so within its request timeout, and again while it reconnects. */
const rememberedMs = 15 * 60_000
/** Ids that are remembered, about 150 bytes each. */
const rememberedMax = 1_000_000
/** Of those whose time is over, this many go with each that comes, so that none holds up the broker. */
const forgottenAtOnceMax = 1_000

/** The transactions of the last minutes, so that a repeat is recognized; also after a restart. */
export class TransactionsView implements View {
  readonly kinds = [opKinds.transaction]
  readonly #state: State
  readonly #countMax: number
  /** When each was committed, oldest first. */
  readonly #committedAtMs = new Map<string, number>()

  constructor(state: State, countMax = rememberedMax) {
    this.#state = state
    this.#countMax = countMax
  }

  /**
   * Whether as many more can be remembered at this time. The next one that is committed takes those with it whose time is
   * over: until then they stand here, and are no reason to refuse it.
   */
  hasRoom(more: number, nowMs: number): boolean {
    if (this.#committedAtMs.size + more <= this.#countMax) return true
    const [oldest] = this.#committedAtMs.values()
    return oldest !== undefined && isOver(oldest, nowMs)
  }

  has(id: string): boolean {
    return this.#committedAtMs.has(id)
  }

  async load(): Promise<void> {
    for await (const [key, value] of tableEntries(this.#state, viewTables.transactionIds))
      this.#committedAtMs.set(Buffer.from(key).toString('utf8', 9), decodeBody(value) as number)
  }

  apply(_kind: number, payload: Uint8Array): void {
    const [id, atMs] = decodeBody(payload) as [string, number]
    this.#committedAtMs.set(id, atMs)
    this.#state.put(keyOf(id, atMs), encodeBody(atMs))
    let forgotten = 0
    for (const [oldId, oldAtMs] of this.#committedAtMs) {
      if (!isOver(oldAtMs, atMs) || forgotten++ === forgottenAtOnceMax) break
      this.#committedAtMs.delete(oldId)
      this.#state.del(keyOf(oldId, oldAtMs))
    }
  }
}

function isOver(committedAtMs: number, nowMs: number): boolean {
  return committedAtMs < nowMs - rememberedMs
}

/** Payload of a `transaction` operation; stands on disk. */
export function encodeTransaction(id: string, atMs: number): Uint8Array {
  return encodeBody([id, atMs])
}

function keyOf(id: string, atMs: number): Buffer {
  const key = Buffer.alloc(9 + Buffer.byteLength(id))
  key[0] = viewTables.transactionIds
  key.writeUInt32BE(Math.floor(atMs / 0x1_0000_0000), 1)
  key.writeUInt32BE(atMs % 0x1_0000_0000, 5)
  key.write(id, 9)
  return key
}
