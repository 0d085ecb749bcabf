import { Worker } from 'node:worker_threads'

/**
 * A thread that sleeps: Node's own timers have steps of a millisecond and come up to one late, which is longer than the
 * latency of
 * some messages. It waits for a number of ms in `delay`, and reports when that time has passed.
 */
const program = `
const { parentPort, workerData } = require('node:worker_threads')
const state = new Int32Array(workerData, 0, 2)
const delay = new Float64Array(workerData, 8, 1)
parentPort.postMessage(0)
for (;;) {
  Atomics.wait(state, 0, 0)
  Atomics.store(state, 0, 0)
  Atomics.wait(state, 1, 0, delay[0])
  parentPort.postMessage(0)
}`

/** Sleeps to about a tenth of a millisecond, for some microseconds of processor time; one sleep at a time. */
export class PreciseTimer {
  readonly #state: Int32Array
  readonly #delay: Float64Array
  readonly #thread: Worker
  #wake: (() => void) | undefined

  private constructor() {
    const shared = new SharedArrayBuffer(16)
    this.#state = new Int32Array(shared, 0, 2)
    this.#delay = new Float64Array(shared, 8, 1)
    this.#thread = new Worker(program, { eval: true, workerData: shared, execArgv: [] })
    this.#thread.on('message', () => this.#wake?.())
  }

  /** Starts its thread; `close` must be called in the end. */
  static async start(): Promise<PreciseTimer> {
    const timer = new PreciseTimer()
    await timer.#message()
    return timer
  }

  sleep(ms: number): Promise<void> {
    this.#delay[0] = ms
    Atomics.store(this.#state, 0, 1)
    Atomics.notify(this.#state, 0)
    return this.#message()
  }

  async close(): Promise<void> {
    await this.#thread.terminate()
  }

  #message(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}
