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

/** A message that no frame has room for. */
export function tooLargeEnding({ bytes }: Pick<QueueMessage, 'bytes'>): Ending {
  const error = `the message has ${bytes} bytes and does not fit into a frame, also when it is compressed`
  return { kind: 'dead', reason: 'too-large', error }
}

/** Of what becomes dead letters, so much is in memory at a time: each is read and written whole. */
const partBytesMax = 4 * 1024 * 1024
const partDeathsMax = 1_000

/**
 * Settlements that are committed by themselves: those without dead letters first, together, because neither a full disk
 * nor an unreadable log holds them up; then the dead letters of each lane, a few MiB at a time.
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
  /** To be called when they were not committed: what was lost is told with the next. */
  failed(): void
}

/** One operation for each lane that has something to tell: what was settled, and what was lost. */
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
