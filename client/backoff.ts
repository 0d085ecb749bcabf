import { onAbort } from './abort.js'

export interface BackoffOptions {
  /** Ceiling of the first pause, ms. */
  readonly initialMs: number
  /** Ceiling of every later one, ms. */
  readonly maxMs: number
}

/**
 * Returns the pause before the next attempt after `failures` in a row, ms: a random share of a ceiling that doubles
 * ("full jitter",
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that clients do not all return at
 * once.
 */
export function backoffMs(
  failures: number,
  { initialMs, maxMs }: BackoffOptions,
  random = Math.random,
): number {
  const ceiling = Math.min(initialMs * 2 ** Math.min(failures - 1, 30), maxMs)
  return Math.max(1, random() * ceiling)
}

/** Waits; ends early, without an error, when `signal` is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      unwatch?.()
      resolve()
    }
    const timer = setTimeout(done, ms)
    const unwatch = signal && onAbort(signal, done)
  })
}
