import { decodeBody, encodeBody } from '../../protocol/index.js'
import { opKinds, type State } from '../../storage/index.js'
import { tableEntries, viewTables } from '../state_keys.js'
import type { View } from '../view.js'

/** A client repeats a transaction within its request timeout, and again while it reconnects. */
const rememberedMs = 15 * 60_000
/** Limit of remembered ids, about 150 bytes each. */
const rememberedMax = 1_000_000
/** With each new id, so many expired ones are removed, so that a removal never blocks the broker for long. */
const forgottenAtOnceMax = 1_000

/** The transactions of the last minutes, so that a repeat is recognized; also after a restart. */
export class TransactionsView implements View {
  readonly kinds = [opKinds.transaction]
  readonly #state: State
  readonly #countMax: number
  /** Commit time of each, oldest first. */
  readonly #committedAtMs = new Map<string, number>()

  constructor(state: State, countMax = rememberedMax) {
    this.#state = state
    this.#countMax = countMax
  }

  /**
   * Whether this number of transactions can be added at this time. The next commit removes expired ids: until then they
   * are still stored, but do not count.
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

/** Payload of a `transaction` operation; part of the disk format. */
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
