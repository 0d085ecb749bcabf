import { MillraceError } from '../../protocol/index.js'
import { checkChoice, checkOptions, type OptionNames } from '../options.js'
import type { DecodeError, RawMessage } from './message.js'

/** A partition: its number where the consumer reads one topic, both where it reads several. */
export type PartitionRef = number | TopicPartition

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** Where to read: an offset, the first message at or after a time, the first message, or only what comes from now on. */
export type StartPosition = 'earliest' | 'latest' | number | Date

/** Messages that were not read because retention dropped them first. */
export interface SkippedMessages extends TopicPartition {
  readonly fromOffset: number
  readonly toOffset: number
}

/** Decides about a message that does not decode: leave it out (it counts as acknowledged), or end the consumer. */
export type DecodeErrorPolicy =
  | 'throw'
  | 'skip'
  | ((error: DecodeError, message: RawMessage) => 'skip' | 'throw')

/** What `client.consume` takes; everything is optional. */
export interface ConsumeOptions {
  /**
   * Name of the group that shares the partitions and keeps the committed offsets. Without it the consumer reads alone,
   * all partitions or those of `partitions`, and `ack()` does nothing.
   */
  readonly group?: string | undefined
  /** Makes this a static member: it keeps its partitions for the session timeout when it restarts under the same id. */
  readonly instanceId?: string | undefined
  /**
   * In a group: one member owns all partitions, and the others stand by, until it leaves or dies; then the one that joined
   * first follows. All members of the group have to say the same. Default false.
   */
  readonly singleActive?: boolean | undefined
  /** Where to start a partition for which the group has no committed offset, or alone. Default "latest". */
  readonly from?: StartPosition | undefined
  /** Alone: the partitions of the (one) topic to read. Default: all, also those added later. */
  readonly partitions?: readonly number[] | undefined
  /** "end": finish once everything that was there at the start (in a group: when a partition came) is delivered. */
  readonly until?: 'end' | undefined
  /** Ends the loop as if the log were at its end; what was acknowledged is committed. */
  readonly signal?: AbortSignal | undefined

  /** How long a member that hangs keeps its partitions; one whose connection ends loses them at once. Default 30,000. */
  readonly sessionTimeoutMs?: number | undefined
  /**
   * How long delivered messages of a partition that moves away may still be acknowledged. Default 1,000. `run` waits for
   * its handlers instead.
   */
  readonly revokeGraceMs?: number | undefined
  /** How often acknowledged offsets are committed; 0: at once. Default 100. */
  readonly commitIntervalMs?: number | undefined
  /** How long closing waits for the last commit. Default 5,000. */
  readonly closeTimeoutMs?: number | undefined
  /** Delivered messages without acknowledgement at which a partition waits. Default 100,000. */
  readonly unackedMax?: number | undefined

  /** Memory for fetched messages that are not delivered yet, shared by all partitions. Default 16 MiB. */
  readonly bufferBytesMax?: number | undefined
  /** Most bytes of one fetch. Default 4 MiB. */
  readonly fetchBytesMax?: number | undefined
  /**
   * How long the broker holds a fetch that finds nothing, at most: the waits begin with 500 ms, and double while no message
   * comes. A message ends the wait at once. Default 10,000.
   */
  readonly fetchWaitMs?: number | undefined
  /** Alone: how often to look for added partitions. Default 30,000. */
  readonly partitionsRefreshMs?: number | undefined

  /**
   * Where to go on when retention has dropped messages before they were read: "earliest" (default: what is left),
   * "latest", or "error" (OFFSET_OUT_OF_RANGE). An offset past the end is an error unless this is "latest".
   */
  readonly onOutOfRange?: 'earliest' | 'latest' | 'error' | undefined
  /** Called when messages were passed over by `onOutOfRange`. */
  readonly onSkipped?: ((skipped: SkippedMessages) => void) | undefined
  /**
   * Called with what the consumer could not do and tries again: a fetch, a commit, a heartbeat. What it can't try again
   * ends it and comes out of the loop instead. The default prints a process warning for the first error of each kind.
   */
  readonly onError?: ((error: unknown) => void) | undefined
  /**
   * What to do with values that don't decode or don't fit the schema, and with record batches that their publisher packed
   * wrongly: such a batch is one error (`part` is "batch"), and "skip" leaves out all of its messages from `message.offset`
   * to before `error.endOffset`. "throw" (default) leaves the message
   * unacknowledged and ends the consumer, so that the next one starts with it.
   */
  readonly onDecodeError?: DecodeErrorPolicy | undefined

  /** In a group: partitions came; their messages are delivered once this has resolved. */
  readonly onAssigned?: ((partitions: readonly TopicPartition[]) => void | Promise<void>) | undefined
  /**
   * In a group: partitions go. None of their messages is delivered after this was called, and those that were may be
   * acknowledged until it has resolved and for `revokeGraceMs`. With `lost` they are gone already: acknowledgements
   * don't count any more.
   */
  readonly onRevoked?:
    | ((partitions: readonly TopicPartition[], reason: { readonly lost: boolean }) => void | Promise<void>)
    | undefined
}

/** The options with their defaults filled in. */
export interface ConsumerSettings {
  readonly group: string | undefined
  readonly instanceId: string | undefined
  readonly singleActive: boolean
  readonly from: StartPosition
  readonly partitions: readonly number[] | undefined
  readonly untilEnd: boolean
  readonly sessionTimeoutMs: number
  readonly revokeGraceMs: number
  readonly commitIntervalMs: number
  readonly closeTimeoutMs: number
  readonly unackedMax: number
  readonly bufferBytesMax: number
  readonly fetchBytesMax: number
  readonly fetchWaitMs: number
  readonly partitionsRefreshMs: number
  readonly onOutOfRange: 'earliest' | 'latest' | 'error'
  readonly onDecodeError: DecodeErrorPolicy
}

const optionNames: OptionNames<ConsumeOptions> = {
  group: true,
  instanceId: true,
  singleActive: true,
  from: true,
  partitions: true,
  until: true,
  signal: true,
  sessionTimeoutMs: true,
  revokeGraceMs: true,
  commitIntervalMs: true,
  closeTimeoutMs: true,
  unackedMax: true,
  bufferBytesMax: true,
  fetchBytesMax: true,
  fetchWaitMs: true,
  partitionsRefreshMs: true,
  onOutOfRange: true,
  onSkipped: true,
  onError: true,
  onDecodeError: true,
  onAssigned: true,
  onRevoked: true,
}

const mib = 1024 * 1024

/** Checks the options and fills in the defaults. @throws MillraceError BAD_OPTION */
export function consumerSettings(options: ConsumeOptions, topicCount: number): ConsumerSettings {
  checkOptions('client.consume', options, optionNames)
  const { group, instanceId, partitions, from = 'latest' } = options
  if (topicCount === 0) throw bad('topics', 'is empty, expected at least one topic')
  checkStart('from', from)
  if (options.until !== undefined && options.until !== 'end') throw bad('until', 'must be "end" or absent')
  if (instanceId !== undefined && group === undefined) throw bad('instanceId', 'needs a group')
  if (options.singleActive === true && group === undefined) throw bad('singleActive', 'needs a group')
  if (partitions !== undefined) checkPartitions(partitions, group, topicCount)
  const { onOutOfRange = 'earliest', onDecodeError = 'throw' } = options
  checkChoice('onOutOfRange', onOutOfRange, ['earliest', 'latest', 'error'])
  if (typeof onDecodeError !== 'function')
    checkChoice('onDecodeError', onDecodeError, ['throw', 'skip'], ' or a function')
  return {
    group,
    instanceId,
    singleActive: options.singleActive ?? false,
    from,
    partitions,
    untilEnd: options.until === 'end',
    sessionTimeoutMs: whole('sessionTimeoutMs', options.sessionTimeoutMs ?? 30_000, 1),
    revokeGraceMs: whole('revokeGraceMs', options.revokeGraceMs ?? 1_000, 0),
    commitIntervalMs: whole('commitIntervalMs', options.commitIntervalMs ?? 100, 0),
    closeTimeoutMs: whole('closeTimeoutMs', options.closeTimeoutMs ?? 5_000, 0),
    unackedMax: whole('unackedMax', options.unackedMax ?? 100_000, 1),
    bufferBytesMax: whole('bufferBytesMax', options.bufferBytesMax ?? 16 * mib, 1024),
    fetchBytesMax: whole('fetchBytesMax', options.fetchBytesMax ?? 4 * mib, 1024),
    fetchWaitMs: whole('fetchWaitMs', options.fetchWaitMs ?? 10_000, 1),
    partitionsRefreshMs: whole('partitionsRefreshMs', options.partitionsRefreshMs ?? 30_000, 1),
    onOutOfRange,
    onDecodeError,
  }
}

/** @throws MillraceError BAD_OPTION */
export function checkStart(name: string, start: StartPosition): void {
  if (start === 'earliest' || start === 'latest') return
  if (start instanceof Date && Number.isFinite(start.getTime()) && start.getTime() >= 0) return
  if (typeof start === 'number' && Number.isSafeInteger(start) && start >= 0) return
  const expected = 'expected "earliest", "latest", an offset (a whole number from 0) or a Date'
  throw bad(
    name,
    `is ${start instanceof Date ? 'not a valid Date since 1970' : JSON.stringify(start)}, ${expected}`,
  )
}

function checkPartitions(partitions: readonly number[], group: string | undefined, topicCount: number): void {
  if (group !== undefined) throw bad('partitions', "can't be chosen in a group: the broker assigns them")
  if (topicCount > 1) throw bad('partitions', 'can be chosen for one topic only')
  if (partitions.length === 0) throw bad('partitions', 'is empty')
  for (const partition of partitions) {
    if (!Number.isSafeInteger(partition) || partition < 0) {
      throw bad('partitions', `contains ${partition}, expected whole numbers from 0`)
    }
  }
}

function whole(name: string, value: number, min: number): number {
  if (Number.isSafeInteger(value) && value >= min) return value
  throw bad(name, `is ${value}, expected a whole number from ${min}`)
}

function bad(name: string, problem: string): MillraceError {
  return new MillraceError('BAD_OPTION', `the option "${name}" ${problem}`)
}
