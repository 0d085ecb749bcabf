import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freshSeed, Random } from './random.js'

/** The context of a test. */
export interface TestContext {
  /** Creates a folder that is removed after the test. */
  tempDir(): Promise<string>
  /**
   * Registers a cleanup. Cleanups run after the test in reverse order, also after a failure; an error in one fails the
   * test.
   */
  defer(cleanup: () => unknown): void
  /** Aborted when the test's deadline passes and before its cleanups run. */
  readonly signal: AbortSignal
  /** Ends the test as skipped, with a reason that the runner shows. */
  skip(reason: string): never
  /** A seeded generator; a failure names its seed. Without `seed` it differs from run to run (or is MILLRACE_TEST_SEED). */
  random(seed?: number): Random
}

/** Thrown by `skip`. */
export class Skipped extends Error {}

const cleanupDeadlineMs = 15_000

/** The context of one run of one test, and the function that ends it. */
export class RunningTest implements TestContext {
  readonly #abort = new AbortController()
  readonly #cleanups: (() => unknown)[] = []
  readonly #seeds: number[] = []
  readonly signal: AbortSignal = this.#abort.signal

  readonly tempDir = async (): Promise<string> => {
    const dir = await mkdtemp(join(tmpdir(), 'millrace-test-'))
    this.#cleanups.push(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }))
    return dir
  }

  readonly defer = (cleanup: () => unknown): void => {
    this.#cleanups.push(cleanup)
  }

  readonly skip = (reason: string): never => {
    throw new Skipped(reason)
  }

  readonly random = (seed: number = freshSeed()): Random => {
    this.#seeds.push(seed)
    return new Random(seed)
  }

  /** Seeds of this run, for the message of a failure. */
  get seeds(): readonly number[] {
    return this.#seeds
  }

  abort(reason: Error): void {
    this.#abort.abort(reason)
  }

  /**
   * Runs all cleanups, also after an error in one.
   * @throws the first error, or an Error if they take more than 15 seconds
   */
  async cleanUp(): Promise<void> {
    this.abort(new Error('the test has ended'))
    const errors: unknown[] = []
    await withDeadline(cleanupDeadlineMs, 'the cleanups of the test did not end', async () => {
      for (let next = this.#cleanups.pop(); next !== undefined; next = this.#cleanups.pop()) {
        try {
          await next()
        } catch (error) {
          errors.push(error)
        }
      }
    })
    if (errors.length === 1) throw errors[0]
    if (errors.length > 1) throw new AggregateError(errors, `${errors.length} cleanups of the test failed`)
  }
}

/**
 * Runs `work` and rejects if it takes longer. The timer keeps the process alive, so that a promise that never
 * settles ends in an error and not in a silent exit.
 */
export async function withDeadline<T>(deadlineMs: number, what: string, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} within ${deadlineMs} ms`)), deadlineMs)
  })
  try {
    return await Promise.race([work(), expired])
  } finally {
    clearTimeout(timer)
  }
}
