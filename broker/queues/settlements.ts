import type { commands, QueueSettings, RequestOf } from '../../protocol/index.js'
import { runsOf } from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import type { DeathReason } from './dead_letters.js'
import type { Lane } from './lane.js'
import { encodeQueueSettled } from './ops.js'
import { byLane, type QueueMessage } from './queue_message.js'
import { retryDelayMs } from './settings.js'

export type SettleEntry = RequestOf<typeof commands.queueSettle>['entries'][number]

/** How a delivery ended. */
export type Ending =
  | { readonly kind: 'done' | 'released' }
  | { readonly kind: 'failed'; readonly dueAtMs: number }
  | { readonly kind: 'dead'; readonly reason: DeathReason; readonly error: string }

export interface Settlement {
  readonly message: QueueMessage
  readonly ending: Ending
}

/** What it means for a message that its worker says so. */
export function endingOf(
  settings: QueueSettings,
  message: QueueMessage,
  { outcome, delayMs, error = '' }: Pick<SettleEntry, 'outcome' | 'delayMs' | 'error'>,
  nowMs: number,
): Ending {
  switch (outcome) {
    case 'ack':
      return { kind: 'done' }
    case 'release':
      return { kind: 'released' }
    case 'reject':
      return { kind: 'dead', reason: 'rejected', error }
    case 'fail': {
      const attempts = message.attempts + 1
      if (attempts >= settings.attemptsMax) return { kind: 'dead', reason: 'attempts', error }
      const waitMs = delayMs ?? retryDelayMs(settings, attempts, Math.random())
      return { kind: 'failed', dueAtMs: waitMs === 0 ? 0 : nowMs + waitMs }
    }
  }
}

/** A message that was older than its time to live when its turn came. */
export function expiredEnding({ expired }: QueueSettings): Ending {
  return expired === 'drop'
    ? { kind: 'done' }
    : { kind: 'dead', reason: 'expired', error: 'it was older than its time to live' }
}

/** One operation for each lane that has something to tell: what was settled, and what was lost, which it forgets. */
export function settledOps(
  queueId: number,
  settlements: readonly Settlement[],
  allLanes: Iterable<Lane>,
): Op[] {
  const ops: Op[] = []
  const lanes = new Map(byLane(settlements, ({ message }) => message))
  for (const lane of allLanes) if (lane.lost.length > 0 && !lanes.has(lane)) lanes.set(lane, [])
  for (const [lane, some] of lanes) {
    const offsetsThat = (...kinds: Ending['kind'][]): number[] =>
      some
        .filter(({ ending }) => kinds.includes(ending.kind))
        .map(({ message }) => message.offset)
        .sort((a, b) => a - b)
    const failed: (readonly [number, number])[] = []
    for (const { message, ending } of some)
      if (ending.kind === 'failed') failed.push([message.offset, ending.dueAtMs])
    const done = [...runsOf(offsetsThat('done', 'dead')), ...lane.lost]
    lane.lost = []
    const released = runsOf(offsetsThat('released'))
    const payload = encodeQueueSettled({ queueId, logId: lane.partition.log.id, done, failed, released })
    ops.push({ kind: opKinds.queueSettled, payload })
  }
  return ops
}
