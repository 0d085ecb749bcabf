import type { QueueOptions } from 'millrace'

/** Short times, so that the example need not wait long for what hangs. */
export const workTimes = { leaseMs: 2_000, timeoutMs: 1_000, blockedMsMax: 1_000 } as const

/** What a worker process ends with when it crashes on purpose. */
export const crashCode = 9

/** How the group of the example treats messages that fail. More attempts than one message can have mishaps. */
export const workSettings: QueueOptions = {
  attemptsMax: 5,
  retry: { kind: 'exponential', delay: '50ms', max: '1s' },
}

/** What becomes of a message; decided by its content, so that each run is alike. */
export type Behaviour = 'fails' | 'rejected' | 'busy' | 'hangs' | 'late' | 'works'

/** @param digest SHA-1 of the value, in hexadecimal */
export function behaviourOf(digest: string): Behaviour {
  const number = Number.parseInt(digest.slice(0, 8), 16)
  if (number % 300 === 1) return 'fails'
  if (number % 500 === 2) return 'rejected'
  if (number % 20 === 3) return 'busy'
  if (number % 400 === 4) return 'hangs'
  if (number % 400 === 5) return 'late'
  return 'works'
}
