/** The signals with waiting callbacks. */
const watches = new WeakMap<AbortSignal, AbortWatch>()

/**
 * Calls `callback` when the signal is aborted; never for a signal that is aborted already. However many calls share a signal,
 * it gets one listener, because Node.js warns of a leak from the eleventh on.
 * @returns a function that ends the wait
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let watch = watches.get(signal)
  if (watch === undefined) {
    watch = new AbortWatch(signal)
    watches.set(signal, watch)
  }
  return watch.add(callback)
}

/** The callbacks of one signal. */
class AbortWatch {
  readonly #signal: AbortSignal
  readonly #callbacks = new Set<() => void>()

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  add(callback: () => void): () => void {
    // The same function may wait twice.
    const entry = (): void => callback()
    if (this.#callbacks.size === 0) this.#signal.addEventListener('abort', this)
    this.#callbacks.add(entry)
    return () => {
      if (!this.#callbacks.delete(entry) || this.#callbacks.size > 0) return
      // A signal of AbortSignal.any is kept in memory as long as it has a listener.
      this.#signal.removeEventListener('abort', this)
    }
  }

  /** Called by the signal. */
  handleEvent(): void {
    const callbacks = [...this.#callbacks]
    this.#callbacks.clear()
    this.#signal.removeEventListener('abort', this)
    for (const callback of callbacks) callback()
  }
}

/** Returns the same promise, except that it rejects with the reason of the signal as soon as that is aborted. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) abort()
    const done = onAbort(signal, abort)
    promise.then(
      (value) => {
        done()
        resolve(value)
      },
      (error: unknown) => {
        done()
        reject(error)
      },
    )
  })
}
