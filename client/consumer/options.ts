import { MillraceError } from '../../protocol/index.js'
import { checkChoice, checkOptions, type OptionNames, wholeOption } from '../options.js'
import type { DecodeError, RawMessage } from './message.js'

/** A partition: a number if the consumer reads one topic, topic and number if it reads several. */
export type PartitionRef = number | TopicPartition

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/**
 * Where to start: an offset, the first message at or after a time, the first message ("earliest"), or only new messages
 * ("latest").
 */
export type StartPosition = 'earliest' | 'latest' | number | Date

/** Messages that retention dropped before the consumer read them. */
export interface SkippedMessages extends TopicPartition {
  readonly fromOffset: number
  readonly toOffset: number
}

/** Decides about a message that does not decode: skip it (it counts as acknowledged), or end the consumer. */
export type DecodeErrorPolicy =
  | 'throw'
  | 'skip'
  | ((error: DecodeError, message: RawMessage) => 'skip' | 'throw')

/** Options of `client.consume`; all are optional. */
export interface ConsumeOptions {
  /**
   * Name of the group that shares the partitions and stores the committed offsets. Without a group the consumer reads
   * alone, all partitions or those in `partitions`, and `ack()` does nothing.
   */
  readonly group?: string | undefined
  /**
   * Makes this a static member: if it restarts with the same id within the session timeout, it keeps its partitions.
   */
  readonly instanceId?: string | undefined
  /**
   * In a group: one member owns all partitions, and the others stand by until it leaves or dies; then the oldest member
   * follows. All members of the group must use the same value. Default false.
   */
  readonly singleActive?: boolean | undefined
  /** Where to start a partition without a committed offset of the group, or without a group. Default "latest". */
  readonly from?: StartPosition | undefined
  /** Without a group: the partitions to read, of one topic. Default: all, including partitions that are added later. */
  readonly partitions?: readonly number[] | undefined
  /**
   * "end": finish after the delivery of all messages that existed at the start (in a group: at the assignment of the
   * partition).
   */
  readonly until?: 'end' | undefined
  /** Ends the loop without an error; the acknowledged messages are committed. */
  readonly signal?: AbortSignal | undefined

  /**
   * How long a hung member keeps its partitions; a member that loses its connection loses them at once. Default 30,000.
   */
  readonly sessionTimeoutMs?: number | undefined
  /**
   * How long the application may still acknowledge delivered messages of a partition that moves away. Default 1,000.
   * `run` waits for its handlers instead.
   */
  readonly revokeGraceMs?: number | undefined
  /** Interval of commits of acknowledged offsets; 0: at once. Default 100. */
  readonly commitIntervalMs?: number | undefined
  /** How long closing waits for the last commit. Default 5,000. */
  readonly closeTimeoutMs?: number | undefined
  /** Number of delivered messages without acknowledgement at which a partition waits. Default 100,000. */
  readonly unackedMax?: number | undefined

  /** Memory for fetched messages before their delivery, shared by all partitions. Default 16 MiB. */
  readonly bufferBytesMax?: number | undefined
  /** Upper limit of the bytes of one fetch. Default 4 MiB. */
  readonly fetchBytesMax?: number | undefined
  /**
   * Longest wait of a fetch that finds no messages: waits begin with 500 ms, and double while no message arrives. A
   * message ends the wait at once. Default 10,000.
   */
  readonly fetchWaitMs?: number | undefined
  /** Without a group: interval of checks for added partitions. Default 30,000. */
  readonly partitionsRefreshMs?: number | undefined

  /**
   * Where to continue if retention has dropped messages before the consumer read them: "earliest" (default: the oldest
   * message left), "latest", or "error" (OFFSET_OUT_OF_RANGE). An offset past the end is an error unless this is
   * "latest".
   */
  readonly onOutOfRange?: 'earliest' | 'latest' | 'error' | undefined
  /** Called when `onOutOfRange` skipped messages. */
  readonly onSkipped?: ((skipped: SkippedMessages) => void) | undefined
  /**
   * Called with errors that the consumer retries: of a fetch, a commit or a heartbeat. A permanent error ends the
   * consumer, and the loop throws it. The default prints a process warning for the first error of each kind.
   */
  readonly onError?: ((error: unknown) => void) | undefined
  /**
   * What to do with values that do not decode or do not match the schema, and with record batches that their publisher
   * packed wrongly. Such a batch makes one error (`part` is "batch"), and "skip" skips all of its messages, from
   * `message.offset` to before `error.endOffset`. "throw" (default) ends the consumer and leaves the message
   * unacknowledged, so that the next consumer starts with it. While many messages in a row are skipped, other work of
   * the process continues, and `close` and `signal` end the skipping.
   */
  readonly onDecodeError?: DecodeErrorPolicy | undefined

  /** In a group: called with new partitions; the consumer delivers their messages once this has resolved. */
  readonly onAssigned?: ((partitions: readonly TopicPartition[]) => void | Promise<void>) | undefined
  /**
   * In a group: called with partitions that the member gives up. After the call the consumer delivers none of their
   * messages. The application may acknowledge delivered messages until this has resolved, and for at least
   * `revokeGraceMs`. With `lost` the partitions are gone already, and acknowledgements have no effect.
   */
  readonly onRevoked?:
    | ((partitions: readonly TopicPartition[], reason: { readonly lost: boolean }) => void | Promise<void>)
    | undefined
}

/** The options with their defaults. */
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
    sessionTimeoutMs: wholeOption('sessionTimeoutMs', options.sessionTimeoutMs ?? 30_000, 1),
    revokeGraceMs: wholeOption('revokeGraceMs', options.revokeGraceMs ?? 1_000, 0),
    commitIntervalMs: wholeOption('commitIntervalMs', options.commitIntervalMs ?? 100, 0),
    closeTimeoutMs: wholeOption('closeTimeoutMs', options.closeTimeoutMs ?? 5_000, 0),
    unackedMax: wholeOption('unackedMax', options.unackedMax ?? 100_000, 1),
    bufferBytesMax: wholeOption('bufferBytesMax', options.bufferBytesMax ?? 16 * mib, 1024),
    fetchBytesMax: wholeOption('fetchBytesMax', options.fetchBytesMax ?? 4 * mib, 1024),
    fetchWaitMs: wholeOption('fetchWaitMs', options.fetchWaitMs ?? 10_000, 1),
    partitionsRefreshMs: wholeOption('partitionsRefreshMs', options.partitionsRefreshMs ?? 30_000, 1),
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

function bad(name: string, problem: string): MillraceError {
  return new MillraceError('BAD_OPTION', `the option "${name}" ${problem}`)
}
