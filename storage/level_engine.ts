import { setImmediate } from 'node:timers/promises'
import { Level } from 'level'
import { MillraceError } from '../protocol/index.js'
import type { Engine, EngineEntry, EngineOp, EngineSnapshot, RangeOptions } from './engine.js'

const mebibyte = 1024 * 1024
const opsPerTurn = 512

/**
 * Settings by measurement (FORMAT.md): keys ascend, and values are mostly incompressible or already compressed.
 * A larger write buffer makes stalls longer and does not raise throughput. LevelDB maps the files that it reads into
 * memory while they are open, which counts as resident memory: 74 open files are its minimum
 * (64 of them tables), and a table is as large as the write buffer plus one commit.
 */
const levelOptions = {
  keyEncoding: 'view',
  valueEncoding: 'view',
  compression: false,
  writeBufferSize: 1.5 * mebibyte,
  maxFileSize: 1.5 * mebibyte,
  maxOpenFiles: 74,
  cacheSize: 1 * mebibyte,
} as const

/** LevelDB, in a folder of its own, through the `level` package. */
export class LevelEngine implements Engine {
  readonly #db: Level<Uint8Array, Uint8Array>

  private constructor(db: Level<Uint8Array, Uint8Array>) {
    this.#db = db
  }

  /**
   * Opens or creates the database in `folder`.
   * @throws MillraceError FOLDER_IN_USE if another process has it open, STORAGE_FAILED if LevelDB refuses it
   */
  static async open(folder: string): Promise<LevelEngine> {
    const db = new Level<Uint8Array, Uint8Array>(folder, levelOptions)
    try {
      await db.open()
    } catch (error) {
      throw openError(folder, error)
    }
    return new LevelEngine(db)
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#db.get(key).catch(throwCorrupt)
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#db.getMany(keys as Uint8Array[]).catch(throwCorrupt)
  }

  async range({ gte, lt, limit, reverse = false }: RangeOptions): Promise<EngineEntry[]> {
    const iterator = this.#db.iterator({ gte, lt, limit, reverse })
    try {
      return await iterator.all().catch(throwCorrupt)
    } finally {
      await iterator.close()
    }
  }

  snapshot(): EngineSnapshot {
    const snapshot = this.#db.snapshot()
    return {
      range: async ({ gte, lt, limit, reverse = false }) => {
        const iterator = this.#db.iterator({ gte, lt, limit, reverse, snapshot })
        try {
          return await iterator.all().catch(throwCorrupt)
        } finally {
          await iterator.close()
        }
      },
      close: () => snapshot.close(),
    }
  }

  commit(ops: readonly EngineOp[]): Promise<void> {
    return ops.length > opsPerTurn ? this.#commitMany(ops) : this.#db.batch(ops as EngineOp[], { sync: true })
  }

  /** A checkpoint of many partitions has thousands of operations; the engine takes them over several turns. */
  async #commitMany(ops: readonly EngineOp[]): Promise<void> {
    const batch = this.#db.batch()
    try {
      for (const [index, op] of ops.entries()) {
        if (op.type === 'put') batch.put(op.key, op.value)
        else batch.del(op.key)
        if (index % opsPerTurn === opsPerTurn - 1) await setImmediate()
      }
      await batch.write({ sync: true })
    } finally {
      await batch.close()
    }
  }

  compact(gte: Uint8Array, lt: Uint8Array): Promise<void> {
    // Optional in the types only because browsers do not have it.
    return (
      this.#db as unknown as { compactRange(a: Uint8Array, b: Uint8Array): Promise<void> }
    ).compactRange(gte, lt)
  }

  close(): Promise<void> {
    return this.#db.close()
  }
}

/** A damaged block of a table can also make LevelDB read after the end of the file. */
function throwCorrupt(error: unknown): never {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  const text = cause instanceof Error ? cause.message : String(cause)
  if (code === 'LEVEL_CORRUPTION' || (code === 'LEVEL_IO_ERROR' && text.includes('Invalid argument')))
    throw new MillraceError('CORRUPT', `the database is damaged: ${text}`, { cause: error })
  throw error
}

function openError(folder: string, error: unknown): MillraceError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const text = cause instanceof Error ? cause.message : String(cause)
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'LEVEL_LOCKED') {
    return new MillraceError('FOLDER_IN_USE', `the database ${folder} is open in another process`, { cause })
  }
  return new MillraceError('STORAGE_FAILED', `can't open the database ${folder}: ${text}`, { cause })
}
