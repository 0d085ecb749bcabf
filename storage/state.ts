import { crc32 } from 'node:zlib'
import { MillraceError } from '../protocol/index.js'
import type { Engine, EngineEntry, EngineOp, RangeOptions } from './engine.js'
import { positionKey, positionOf, stateTables } from './keys.js'
import { SortedBytesMap } from './sorted_bytes_map.js'

const checkpointKey = Uint8Array.of(stateTables.checkpoint)
const checksumBytes = 4
const entryOverheadBytes = 64

/** A place in the journal: the newest block that is reflected, and its link. */
export interface Checkpoint {
  readonly position: number
  readonly link: number
}

/** A change that has not reached the database: a value, or undefined for a deletion. */
type Change = Uint8Array | undefined

/**
 * The views' database behind an overlay of changes in memory. Reads go through the overlay, then through the one that
 * is being written, then to the engine. A checkpoint writes the overlay and the journal position that it reflects in
 * one atomic batch. Every value carries a CRC-32 of its key and itself, since LevelDB doesn't notice bit rot.
 */
export class State {
  #engine: Engine
  #active = new SortedBytesMap<{ value: Change }>()
  #activeBytes = 0
  #frozen: SortedBytesMap<{ value: Change }> | undefined
  #checkpoint: Checkpoint
  #writtenBytes = 0

  private constructor(engine: Engine, checkpoint: Checkpoint) {
    this.#engine = engine
    this.#checkpoint = checkpoint
  }

  /** @throws MillraceError CORRUPT when the checkpoint can't be read */
  static async open(engine: Engine): Promise<State> {
    const checkpoint = await fromEither(engine, readCheckpointOf)
    return new State(engine, checkpoint ?? { position: 0, link: 0 })
  }

  /** Up to where in the journal the durable state reflects it. */
  get checkpoint(): Checkpoint {
    return this.#checkpoint
  }

  /** Bytes that checkpoints have written since the state was opened, roughly. */
  get writtenBytes(): number {
    return this.#writtenBytes
  }

  /** Bytes of changes that wait for a checkpoint. */
  get dirtyBytes(): number {
    return this.#activeBytes
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#active.set(key, { value })
    this.#activeBytes += key.length + value.length + entryOverheadBytes
  }

  del(key: Uint8Array): void {
    this.#active.set(key, { value: undefined })
    this.#activeBytes += key.length + entryOverheadBytes
  }

  /** @throws MillraceError CORRUPT */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const change = this.#active.get(key) ?? this.#frozen?.get(key)
    if (change !== undefined) return change.value
    return fromEither(this.#engine, async (engine) => {
      const sealed = await engine.get(key)
      return sealed && unseal(key, sealed)
    })
  }

  /**
   * Values in the order of `keys`.
   * @throws MillraceError CORRUPT
   */
  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const changes = keys.map((key) => this.#active.get(key) ?? this.#frozen?.get(key))
    const stored = keys.filter((_, index) => changes[index] === undefined)
    const found = await fromEither(this.#engine, async (engine) => {
      const sealed = await engine.getMany(stored)
      return sealed.map((value, index) => value && unseal(stored[index] as Uint8Array, value))
    })
    let next = 0
    return changes.map((change) => (change === undefined ? found[next++] : change.value))
  }

  /**
   * Entries of a range, changes in memory included.
   * @throws MillraceError CORRUPT
   */
  async range(options: RangeOptions): Promise<EngineEntry[]> {
    let found = await this.#rangeOnce(options, options.limit)
    // Deletions in memory hide stored entries, so a short answer may only mean that more has to be read.
    for (let limit = options.limit * 2; found.short && found.entries.length < options.limit; limit *= 2) {
      found = await this.#rangeOnce(options, limit)
    }
    return found.entries.slice(0, options.limit)
  }

  /** Entries as the last checkpoint left them. */
  durableRange(options: RangeOptions): Promise<EngineEntry[]> {
    return fromEither(this.#engine, async (engine) => {
      const stored = await engine.range(options)
      return stored.map(([key, sealed]) => [key, unseal(key, sealed)])
    })
  }

  /**
   * Writes all changes and where in the journal they end in one durable batch. Calls must not overlap.
   * @throws what the engine throws; the changes are kept
   */
  async write(checkpoint: Checkpoint): Promise<void> {
    const frozen = this.#active
    const frozenBytes = this.#activeBytes
    this.#frozen = frozen
    this.#active = new SortedBytesMap()
    this.#activeBytes = 0
    try {
      const ops: EngineOp[] = [
        { type: 'put', key: checkpointKey, value: seal(checkpointKey, encodeCheckpoint(checkpoint)) },
      ]
      for (const [key, { value }] of frozen.entries()) {
        ops.push(value === undefined ? { type: 'del', key } : { type: 'put', key, value: seal(key, value) })
      }
      await this.#engine.commit(ops)
      this.#checkpoint = checkpoint
      this.#writtenBytes += frozenBytes
    } catch (error) {
      this.#activeBytes += frozenBytes
      for (const [key, change] of frozen.entries())
        if (this.#active.get(key) === undefined) this.#active.set(key, change)
      throw error
    } finally {
      this.#frozen = undefined
    }
  }

  /** Goes on with a database that was opened anew after a failure. */
  replaceEngine(engine: Engine): void {
    this.#engine = engine
  }

  async #rangeOnce(
    options: RangeOptions,
    limit: number,
  ): Promise<{ entries: EngineEntry[]; short: boolean }> {
    const stored = await this.durableRange({ ...options, limit })
    const everything = { ...options, limit: Number.POSITIVE_INFINITY }
    const changes = [...(this.#frozen?.range(everything) ?? []), ...this.#active.range(everything)]
    const short = stored.length === limit
    if (changes.length === 0) return { entries: stored, short }
    const merged = new SortedBytesMap<Change>()
    for (const [key, value] of stored) merged.set(key, value)
    const last = stored.at(-1)?.[0]
    for (const [key, { value }] of changes) {
      // Beyond what was read from the engine its own entries are unknown: a later round gets there.
      if (short && last !== undefined && isBeyond(key, last, options.reverse ?? false)) continue
      merged.set(key, value)
    }
    const entries: EngineEntry[] = []
    for (const [key, value] of merged.range(everything)) if (value !== undefined) entries.push([key, value])
    return { entries, short }
  }
}

/** Reads what is damaged from the copy, if the engine has one. Throws what the engine threw when that is damaged too. */
async function fromEither<T>(engine: Engine, read: (engine: Engine) => Promise<T>): Promise<T> {
  try {
    return await read(engine)
  } catch (error) {
    if (engine.copy === undefined) throw error
    return read(engine.copy).catch(() => {
      throw error
    })
  }
}

async function readCheckpointOf(engine: Engine): Promise<Checkpoint | undefined> {
  const sealed = await engine.get(checkpointKey)
  return sealed && readCheckpoint(unseal(checkpointKey, sealed))
}

/** Position of the checkpoint in a database of the state; undefined when there is none. */
export async function checkpointIn(engine: Engine): Promise<number | undefined> {
  return (await readCheckpointOf(engine))?.position
}

function isBeyond(key: Uint8Array, last: Uint8Array, reverse: boolean): boolean {
  const order = Buffer.compare(key, last)
  return reverse ? order < 0 : order > 0
}

function encodeCheckpoint({ position, link }: Checkpoint): Uint8Array {
  const value = Buffer.allocUnsafe(12)
  value.set(positionKey(position), 0)
  value.writeUInt32LE(link, 8)
  return value
}

function readCheckpoint(value: Uint8Array): Checkpoint {
  return {
    position: positionOf(value),
    link: Buffer.from(value.buffer, value.byteOffset, value.length).readUInt32LE(8),
  }
}

function seal(key: Uint8Array, value: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(checksumBytes + value.length)
  sealed.writeUInt32LE(crc32(value, crc32(key)), 0)
  sealed.set(value, checksumBytes)
  return sealed
}

function unseal(key: Uint8Array, sealed: Uint8Array): Uint8Array {
  const value = sealed.subarray(checksumBytes)
  if (
    sealed.length < checksumBytes ||
    Buffer.from(sealed.buffer, sealed.byteOffset, 4).readUInt32LE(0) !== crc32(value, crc32(key))
  ) {
    throw new MillraceError(
      'CORRUPT',
      `the state entry ${Buffer.from(key).toString('hex')} is damaged: its checksum does not match`,
    )
  }
  return value
}
