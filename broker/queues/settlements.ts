import type { commands, QueueSettings, RequestOf } from '../../protocol/index.js'
import { bytesText, runsOf } from '../../protocol/index.js'
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

/** The effect of a worker's outcome on a message. */
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

/** The effect for a message whose time to live was over before its delivery. */
export function expiredEnding({ expired }: QueueSettings): Ending {
  return expired === 'drop'
    ? { kind: 'done' }
    : { kind: 'dead', reason: 'expired', error: 'the message was older than its time to live' }
}

/** The effect for a message that is larger than any frame. */
export function tooLargeEnding({ bytes }: Pick<QueueMessage, 'bytes'>): Ending {
  const error = `the message has ${bytesText(bytes)}, which is more than a frame can hold, even compressed`
  return { kind: 'dead', reason: 'too-large', error }
}

/** Limit of the dead letters in memory at a time: each is read and written as a whole. */
const partBytesMax = 4 * 1024 * 1024
const partDeathsMax = 1_000

/**
 * Splits settlements into separate commits: first those without dead letters, all together, because neither a full disk
 * nor an unreadable log can delay them; then the dead letters of each lane, a few MiB at a time.
 */
export function* partsOf(settlements: readonly Settlement[]): Generator<readonly Settlement[]> {
  const others = settlements.filter(({ ending }) => ending.kind !== 'dead')
  if (others.length > 0) yield others
  const deaths = settlements.filter(({ ending }) => ending.kind === 'dead')
  for (const [, some] of byLane(deaths, ({ message }) => message)) {
    let part: Settlement[] = []
    let bytes = 0
    for (const death of some) {
      if (part.length === partDeathsMax || (part.length > 0 && bytes + death.message.bytes > partBytesMax)) {
        yield part
        part = []
        bytes = 0
      }
      part.push(death)
      bytes += death.message.bytes
    }
    yield part
  }
}

export interface SettledOps {
  readonly ops: readonly Op[]
  /** Call it if the commit failed: the next operations then include the lost messages. */
  failed(): void
}

/** One operation for each lane with changes: settled messages and lost messages. */
export function settledOps(
  queueId: number,
  settlements: readonly Settlement[],
  allLanes: Iterable<Lane>,
): SettledOps {
  const ops: Op[] = []
  const lostOf: (readonly [Lane, readonly number[]])[] = []
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
    if (lane.lost.length > 0) lostOf.push([lane, lane.lost])
    lane.lost = []
    const released = runsOf(offsetsThat('released'))
    const payload = encodeQueueSettled({ queueId, logId: lane.partition.log.id, done, failed, released })
    ops.push({ kind: opKinds.queueSettled, payload })
  }
  const failed = (): void => {
    for (const [lane, lost] of lostOf) lane.lost.push(...lost)
  }
  return { ops, failed }
}
