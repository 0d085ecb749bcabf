import type { QueueOptions } from 'millrace'

/** Short times, so that the example need not wait long for what hangs. */
export const workTimes = { leaseMs: 2_000, timeoutMs: 1_000, blockedMsMax: 1_000 } as const

/** How the group of the example treats messages that fail. */
export const workSettings: QueueOptions = {
  attemptsMax: 3,
  retry: { kind: 'exponential', delay: '50ms', max: '1s' },
}
