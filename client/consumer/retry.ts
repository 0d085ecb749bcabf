import { backoffMs } from '../backoff.js'

const backoff = { initialMs: 50, maxMs: 2_000 } as const

/** Pause of a consumer after `failures` consecutive requests with a retryable error. */
export function retryMs(failures: number): number {
  return backoffMs(failures, backoff)
}
