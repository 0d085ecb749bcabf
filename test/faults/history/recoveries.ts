import type { FaultMark } from './history.js'
import type { HistoryIndex } from './history_index.js'

/** The time after the end of a fault, until the end or until the next fault. */
export interface Recovery {
  readonly heal: FaultMark
  /** Time to the first acknowledged publish; undefined if there is none. */
  readonly recoveryMs: number | undefined
  /** Publishes that began in that time and have an outcome other than `ok`. */
  readonly failedAttempts: number
}

/**
 * One for each end of a fault that was followed by an acknowledgement or by the end of the history. Nothing is known if
 * the
 * next fault came sooner.
 */
export function recoveries({ publishes, faults }: HistoryIndex): Recovery[] {
  const acks = publishes.filter(({ outcome }) => outcome === 'ok').map(({ completedAt }) => completedAt)
  acks.sort((a, b) => a - b)
  const injected = faults.filter(({ phase }) => phase === 'inject').map(({ at }) => at)
  const result: Recovery[] = []
  let [ack, next] = [0, 0]
  for (const heal of faults) {
    if (heal.phase !== 'heal') continue
    while ((acks[ack] ?? Number.POSITIVE_INFINITY) < heal.at) ack++
    while ((injected[next] ?? Number.POSITIVE_INFINITY) < heal.at) next++
    const until = injected[next] ?? Number.POSITIVE_INFINITY
    const at = acks[ack] ?? Number.POSITIVE_INFINITY
    if (at < until) result.push({ heal, recoveryMs: (at - heal.at) / 1000, failedAttempts: 0 })
    else if (until === Number.POSITIVE_INFINITY) {
      result.push({ heal, recoveryMs: undefined, failedAttempts: failedSince(publishes, heal.at) })
    }
  }
  return result
}

function failedSince(publishes: HistoryIndex['publishes'], at: number): number {
  let failed = 0
  for (const { invokedAt, outcome, notedAt } of publishes) {
    if (invokedAt > at && outcome !== 'ok' && notedAt !== undefined) failed++
  }
  return failed
}
