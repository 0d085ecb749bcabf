import { type EngineEntry, SortedBytesMap } from '../../storage/index.js'
import { type DelayedMessage, delayedKey, readDelayed } from './delayed_codec.js'
import { slicesOf } from './slices.js'

/** Reads delayed messages of the state with keys from `gte` to before `lt`, in order, at most `limit`. */
export type ReadDelayed = (range: {
  readonly gte: Uint8Array
  readonly lt: Uint8Array
  readonly limit: number
}) => Promise<readonly EngineEntry[]>

/** A load ends with the slice that reaches it. */
const bytesPerLoadMax = 16 * 1024 * 1024

/** Memory of a message in addition to its record. */
const overheadBytes = 400

/**
 * The delayed messages that are due next, in memory: all whose keys are before a horizon. The others are only in the
 * state, and are read in ranges when their time comes near, so that a million of them need no memory.
 */
export class NearMessages {
  readonly #read: ReadDelayed
  readonly #countMax: number
  readonly #bytesMax: number
  readonly #messages = new SortedBytesMap<DelayedMessage>()
  #bytes = 0
  /** All messages with keys before it are in memory. */
  #horizon: Uint8Array = delayedKey(0, 0)
  /** Changes behind the horizon during the read of a range; the range may or may not include them. */
  #meanwhile: { readonly added: [Uint8Array, DelayedMessage][]; readonly removed: Set<string> } | undefined

  constructor(read: ReadDelayed, countMax: number, bytesMax: number) {
    this.#read = read
    this.#countMax = countMax
    this.#bytesMax = bytesMax
  }

  get count(): number {
    return this.#messages.size
  }

  /** Due time of the first message; undefined if no message is in memory. */
  get nextDueMs(): number | undefined {
    return this.first(1)[0]?.dueMs
  }

  /** The messages that are due first. */
  first(limit: number): DelayedMessage[] {
    const range = { gte: delayedKey(0, 0), lt: this.#horizon, limit }
    return this.#messages.range(range).map(([, message]) => message)
  }

  /** A message was delayed. */
  added(key: Uint8Array, message: DelayedMessage): void {
    if (Buffer.compare(key, this.#horizon) < 0) this.#take(key, message)
    else this.#meanwhile?.added.push([key, message])
    this.#bound()
  }

  /** A message is no longer delayed. */
  removed(key: Uint8Array): void {
    this.#drop(key)
    this.#meanwhile?.removed.add(textOf(key))
  }

  /** Whether there may be messages due before `untilMs` that are not in memory. */
  lacks(untilMs: number): boolean {
    return Buffer.compare(this.#horizon, delayedKey(untilMs, 0)) < 0
  }

  /**
   * Reads at most `limit` more messages, due until `untilMs`; fewer if they are large. Calls must not overlap.
   * @throws the error of reading; nothing has changed then
   */
  async load(untilMs: number, limit: number): Promise<void> {
    const lt = delayedKey(untilMs, 0)
    const gte = this.#horizon
    if (Buffer.compare(gte, lt) >= 0) return
    const meanwhile = { added: [] as [Uint8Array, DelayedMessage][], removed: new Set<string>() }
    this.#meanwhile = meanwhile
    try {
      const entries: EngineEntry[] = []
      let bytes = 0
      for await (const slice of slicesOf(this.#read, { gte, lt, limit })) {
        entries.push(...slice)
        for (const [key, value] of slice) bytes += key.length + value.length
        if (bytes >= bytesPerLoadMax) break
      }
      const last = entries.at(-1)
      const isPart = entries.length >= limit || bytes >= bytesPerLoadMax
      this.#horizon = last !== undefined && isPart ? Buffer.concat([last[0], Uint8Array.of(0)]) : lt
      for (const [key, value] of entries) {
        if (!meanwhile.removed.has(textOf(key))) this.#take(key, readDelayed(key, value))
      }
      for (const [key, message] of meanwhile.added) {
        if (Buffer.compare(key, this.#horizon) < 0 && !meanwhile.removed.has(textOf(key)))
          this.#take(key, message)
      }
    } finally {
      this.#meanwhile = undefined
    }
    this.#bound()
  }

  #take(key: Uint8Array, message: DelayedMessage): void {
    if (this.#messages.get(key) !== undefined) return
    this.#messages.set(key, message)
    this.#bytes += message.body.length + overheadBytes
  }

  #drop(key: Uint8Array): void {
    const message = this.#messages.get(key)
    if (message === undefined) return
    this.#messages.delete(key)
    this.#bytes -= message.body.length + overheadBytes
  }

  /** Drops the last half if there are too many messages; the horizon moves back. */
  #bound(): void {
    // A load in progress uses its own horizon; it checks the limit at its end.
    if (this.#meanwhile !== undefined) return
    if (this.count <= this.#countMax && this.#bytes <= this.#bytesMax) return
    const limit = Math.floor(this.count / 2)
    if (limit === 0) return
    const range = { gte: delayedKey(0, 0), lt: this.#horizon, limit, reverse: true }
    for (const [key] of this.#messages.range(range)) {
      this.#drop(key)
      this.#horizon = key
    }
  }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}
