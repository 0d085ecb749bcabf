import type { QueueOptions } from 'millrace'

/** Short times, so that the example does not wait long for hanging handlers. */
export const workTimes = { leaseMs: 2_000, timeoutMs: 1_000, blockedMsMax: 1_000 } as const

/** Exit code of a worker process that crashes on purpose. */
export const crashCode = 9

/** Settings of the group for failed messages. They allow more attempts than the planned failures of one message. */
export const workSettings: QueueOptions = {
  attemptsMax: 5,
  retry: { kind: 'exponential', delay: '50ms', max: '1s' },
}

/** The fate of a message; its content decides, so that each run is the same. */
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
