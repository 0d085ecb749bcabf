import { Worker as Thread } from 'node:worker_threads'
import type { LeaseThreadData, LeaseThreadMessage, LeaseThreadReport } from './lease_thread.js'

const beatIntervalMs = 100
const restartPauseMs = 1_000

/**
 * Prolongs leases from a thread of its own, so that a handler which keeps the event loop busy does not lose what it works
 * on. The thread stops when the event loop has not turned for `blockedMsMax`.
 */
export class LeaseKeeper {
  readonly #data: Omit<LeaseThreadData, 'beat'>
  readonly #onLost: (grantIds: readonly number[]) => void
  readonly #onError: (error: unknown) => void
  readonly #grants = new Set<number>()
  /** When the event loop turned last, by the process's monotonic clock in ms. */
  readonly #beat = new BigInt64Array(new SharedArrayBuffer(8))
  readonly #beating: NodeJS.Timeout
  #thread: Thread | undefined
  #removed: number[] = []
  #isClosed = false

  /**
   * @param onLost told of leases that are over
   * @param onError told when the thread failed; it is started again
   */
  constructor(
    data: Omit<LeaseThreadData, 'beat'>,
    onLost: (grantIds: readonly number[]) => void,
    onError: (error: unknown) => void,
  ) {
    this.#data = data
    this.#onLost = onLost
    this.#onError = onError
    this.#turned()
    this.#beating = setInterval(() => this.#turned(), beatIntervalMs).unref()
    this.#start()
  }

  add(grantId: number): void {
    this.#grants.add(grantId)
    this.#post({ added: [grantId], removed: [] })
  }

  /** Nothing of it is handled any more. */
  remove(grantId: number): void {
    if (this.#grants.delete(grantId)) this.#removed.push(grantId)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#beating)
    const thread = this.#thread
    this.#thread = undefined
    await thread?.terminate()
  }

  #turned(): void {
    Atomics.store(this.#beat, 0, process.hrtime.bigint() / 1_000_000n)
    if (this.#removed.length > 0) this.#post({ added: [], removed: this.#removed.splice(0) })
  }

  #start(): void {
    const workerData: LeaseThreadData = { ...this.#data, beat: this.#beat }
    const thread = new Thread(new URL('./lease_thread.js', import.meta.url), { workerData })
    thread.unref()
    this.#thread = thread
    thread.on('message', ({ lost }: LeaseThreadReport) => this.#onLost(lost))
    thread.on('error', (error) => this.#onError(error))
    thread.on('exit', () => {
      if (this.#isClosed || this.#thread !== thread) return
      this.#thread = undefined
      setTimeout(() => {
        if (this.#isClosed) return
        this.#start()
        this.#post({ added: [...this.#grants], removed: [] })
      }, restartPauseMs).unref()
    })
  }

  #post(message: LeaseThreadMessage): void {
    this.#thread?.postMessage(message)
  }
}
