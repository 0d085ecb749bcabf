import type { Outcome } from './settler.js'
import { Reject, RetryAfter } from './work_message.js'

const errorTextMax = 1_000

export const acknowledged: Outcome = { outcome: 'ack' }

/** Converts an error of a handler to an outcome. */
export function outcomeOf(error: unknown): Outcome {
  const text = errorText(error)
  if (error instanceof Reject) return { outcome: 'reject', error: text, cause: error }
  if (error instanceof RetryAfter)
    return { outcome: 'fail', error: text, delayMs: error.delayMs, cause: error }
  return { outcome: 'fail', error: text, cause: error }
}

/** The text of an error, shortened; works for any thrown value. */
export function errorText(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error).slice(0, errorTextMax)
  } catch {
    return 'the handler threw a value that has no text'
  }
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
