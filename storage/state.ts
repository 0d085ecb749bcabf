import { crc32 } from 'node:zlib'
import { MillraceError } from '../protocol/index.js'
import type { Engine, EngineEntry, EngineOp, RangeOptions } from './engine.js'
import { positionKey, positionOf, stateTables } from './keys.js'
import { SortedBytesMap } from './sorted_bytes_map.js'

const checkpointKey = Uint8Array.of(stateTables.checkpoint)
const checksumBytes = 4
const entryOverheadBytes = 64

/** A position in the journal: the newest block that the state reflects, and its link. */
export interface Checkpoint {
  readonly position: number
  readonly link: number
}

/** A change that has not reached the database: a value, or undefined for a deletion. */
type Change = Uint8Array | undefined

/** The changes of one checkpoint. Each layer links to the next newer one. */
class Layer {
  readonly changes = new SortedBytesMap<{ readonly value: Change }>()
  next: Layer | undefined
}

/**
 * The database of the views under layers of changes in memory: one layer collects changes, and a second one exists
 * while a checkpoint writes it. A checkpoint writes a layer and the journal position that it reflects in one atomic
 * batch. Every value has a CRC-32 of its key and itself, because LevelDB does not detect bit rot.
 *
 * Each read shows one moment, the end of the read: it has every earlier change and no later one. The caller continues
 * some microtasks after that, so it must expect changes between the end of the read and its own code.
 *
 * Checkpoints may begin and end while the engine reads. A read therefore keeps the oldest layer from its beginning, and
 * applies that layer and all newer ones to the result of the engine. It does not matter if the engine already has some
 * of these changes.
 */
export class State {
  #engine: Engine
  /** The layer that collects changes. */
  #active = new Layer()
  #activeBytes = 0
  /**
   * The oldest layer that may be missing in the engine: the layer that a checkpoint is writing, or else the active one.
   */
  #oldest = this.#active
  #checkpoint: Checkpoint
  #writtenBytes = 0

  private constructor(engine: Engine, checkpoint: Checkpoint) {
    this.#engine = engine
    this.#checkpoint = checkpoint
  }

  /** @throws MillraceError CORRUPT if the checkpoint cannot be read */
  static async open(engine: Engine): Promise<State> {
    const checkpoint = await fromEither(engine, readCheckpointOf)
    return new State(engine, checkpoint ?? { position: 0, link: 0 })
  }

  /** The journal position that the durable state reflects. */
  get checkpoint(): Checkpoint {
    return this.#checkpoint
  }

  /** Approximate bytes that checkpoints have written since the state was opened. */
  get writtenBytes(): number {
    return this.#writtenBytes
  }

  /** Bytes of changes that wait for a checkpoint. */
  get dirtyBytes(): number {
    return this.#activeBytes
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#active.changes.set(key, { value })
    this.#activeBytes += key.length + value.length + entryOverheadBytes
  }

  del(key: Uint8Array): void {
    this.#active.changes.set(key, { value: undefined })
    this.#activeBytes += key.length + entryOverheadBytes
  }

  /** @throws MillraceError CORRUPT */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const oldest = this.#oldest
    const change = newestChange(oldest, key)
    if (change !== undefined) return change.value
    const stored = await fromEither(this.#engine, async (engine) => {
      const sealed = await engine.get(key)
      return sealed && unseal(key, sealed)
    })
    const later = newestChange(oldest, key)
    return later === undefined ? stored : later.value
  }

  /**
   * Returns values in the order of `keys`.
   * @throws MillraceError CORRUPT
   */
  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const oldest = this.#oldest
    const wanted = [...keys.keys()].filter(
      (index) => newestChange(oldest, keys[index] as Uint8Array) === undefined,
    )
    const stored = wanted.map((index) => keys[index] as Uint8Array)
    const found = await fromEither(this.#engine, async (engine) => {
      const sealed = await engine.getMany(stored)
      return sealed.map((value, index) => value && unseal(stored[index] as Uint8Array, value))
    })
    const values = new Array<Uint8Array | undefined>(keys.length)
    for (const [at, index] of wanted.entries()) values[index] = found[at]
    for (const [index, key] of keys.entries()) {
      const change = newestChange(oldest, key)
      if (change !== undefined) values[index] = change.value
    }
    return values
  }

  /**
   * Returns entries of a range, including changes in memory.
   * @throws MillraceError CORRUPT
   */
  async range(options: RangeOptions): Promise<EngineEntry[]> {
    let found = await this.#rangeOnce(options, options.limit)
    // Deletions in memory hide stored entries, so a short result may only mean that the read must continue.
    for (let limit = options.limit * 2; found.short && found.entries.length < options.limit; limit *= 2) {
      found = await this.#rangeOnce(options, limit)
    }
    return found.entries.slice(0, options.limit)
  }

  /** Returns entries as of the last checkpoint. */
  durableRange(options: RangeOptions): Promise<EngineEntry[]> {
    return fromEither(this.#engine, async (engine) => {
      const stored = await engine.range(options)
      return stored.map(([key, sealed]) => [key, unseal(key, sealed)])
    })
  }

  /**
   * Writes all changes and the journal position of their end in one durable batch. Calls must not overlap.
   * @throws the error of the engine; the changes are kept
   */
  async write(checkpoint: Checkpoint): Promise<void> {
    const written = this.#active
    const writtenBytes = this.#activeBytes
    const active = new Layer()
    written.next = active
    this.#active = active
    this.#activeBytes = 0
    try {
      const ops: EngineOp[] = [
        { type: 'put', key: checkpointKey, value: seal(checkpointKey, encodeCheckpoint(checkpoint)) },
      ]
      for (const [key, { value }] of written.changes.entries()) {
        ops.push(value === undefined ? { type: 'del', key } : { type: 'put', key, value: seal(key, value) })
      }
      await this.#engine.commit(ops)
      this.#checkpoint = checkpoint
      this.#writtenBytes += writtenBytes
    } catch (error) {
      this.#activeBytes += writtenBytes
      for (const [key, change] of written.changes.entries())
        if (active.changes.get(key) === undefined) active.changes.set(key, change)
      throw error
    } finally {
      this.#oldest = active
    }
  }

  /** Continues with a database that was reopened after a failure. */
  replaceEngine(engine: Engine): void {
    this.#engine = engine
  }

  async #rangeOnce(
    options: RangeOptions,
    limit: number,
  ): Promise<{ entries: EngineEntry[]; short: boolean }> {
    const oldest = this.#oldest
    const stored = await this.durableRange({ ...options, limit })
    const everything = { ...options, limit: Number.POSITIVE_INFINITY }
    const changes = [...layersFrom(oldest)].flatMap((layer) => layer.changes.range(everything))
    const short = stored.length === limit
    if (changes.length === 0) return { entries: stored, short }
    const merged = new SortedBytesMap<Change>()
    for (const [key, value] of stored) merged.set(key, value)
    const last = stored.at(-1)?.[0]
    for (const [key, { value }] of changes) {
      // The engine may have more entries behind the last one of this read: a later round reads them.
      if (short && last !== undefined && isBeyond(key, last, options.reverse ?? false)) continue
      merged.set(key, value)
    }
    const entries: EngineEntry[] = []
    for (const [key, value] of merged.range(everything)) if (value !== undefined) entries.push([key, value])
    return { entries, short }
  }
}

/** From the oldest to the newest. */
function* layersFrom(oldest: Layer): Iterable<Layer> {
  for (let layer: Layer | undefined = oldest; layer !== undefined; layer = layer.next) yield layer
}

/** The newest change of a key; undefined if no layer changes it. */
function newestChange(oldest: Layer, key: Uint8Array): { readonly value: Change } | undefined {
  let newest: { readonly value: Change } | undefined
  for (const layer of layersFrom(oldest)) newest = layer.changes.get(key) ?? newest
  return newest
}

/**
 * Reads from the copy if the engine is damaged and has one. Throws the error of the engine if the copy is damaged too.
 */
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

/** Journal position of the checkpoint in a database of the state; undefined if there is none. */
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
      `the state entry ${Buffer.from(key).toString('hex')} is damaged: its checksum is wrong`,
    )
  }
  return value
}
