/**
 * The clock for session timeouts and leases: monotonic, and it stops while the process stands still. When the event loop stalls
 * (a suspended machine, a long pause), heartbeats wait in socket buffers; real time would remove every member
 * before the broker reads them. So time advances by at most `stepMsMax` between two calls of `tick`.
 */
export class LivenessClock {
  readonly #monotonicMs: () => number
  readonly #stepMsMax: number
  #tickedAtMs: number
  #activeMs = 0

  /** Call `tick` more often than once in `stepMsMax`. */
  constructor(stepMsMax: number, monotonicMs: () => number = () => performance.now()) {
    this.#stepMsMax = stepMsMax
    this.#monotonicMs = monotonicMs
    this.#tickedAtMs = monotonicMs()
  }

  get nowMs(): number {
    return this.#activeMs + Math.min(this.#monotonicMs() - this.#tickedAtMs, this.#stepMsMax)
  }

  tick(): void {
    this.#activeMs = this.nowMs
    this.#tickedAtMs = this.#monotonicMs()
  }
}
