import { setTimeout as sleep } from 'node:timers/promises'
import { deadlineFactor } from './engine_mode.js'

const pollMs = 5

/**
 * Polls until the condition returns something other than false, null or undefined, and returns that.
 * @param what names the awaited state in the error: "the group to have three members"
 * @throws Error after `deadlineMs` (default 5,000; longer on delayed engines); and the errors of the condition
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | Promise<T>,
  { deadlineMs = 5_000, signal }: { deadlineMs?: number; signal?: AbortSignal } = {},
): Promise<Exclude<T, false | null | undefined>> {
  const waitMs = deadlineMs * deadlineFactor
  const deadline = performance.now() + waitMs
  for (;;) {
    const value = await condition()
    if (value !== false && value !== null && value !== undefined)
      return value as Exclude<T, false | null | undefined>
    if (performance.now() >= deadline) throw new Error(`waited ${waitMs} ms for ${what} without success`)
    await sleep(pollMs, undefined, signal === undefined ? {} : { signal })
  }
}
