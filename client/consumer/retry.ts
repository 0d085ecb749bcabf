import { backoffMs } from '../backoff.js'

const backoff = { initialMs: 50, maxMs: 2_000 } as const

/** How long a consumer waits after `failures` requests in a row that failed with a retryable error. */
export function retryMs(failures: number): number {
  return backoffMs(failures, backoff)
}
