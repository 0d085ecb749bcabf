import { MillraceError, type QueueSettings, type QueueSettingsInput } from '../../protocol/index.js'
import { checkChoice, checkOptions, type OptionNames, wholeOption } from '../options.js'
import { type Duration, durationMs } from '../units.js'
import type { BatchSettings } from './work_batch.js'
import type { WorkMessage } from './work_message.js'

export type { QueueSettings } from '../../protocol/index.js'

/**
 * How a queue group handles its messages; the broker stores these settings. An absent setting keeps its value, or gets
 * the default.
 */
export interface QueueOptions {
  /** "key": at most one message of a key is in progress at a time, in order. Default "none". */
  readonly order?: 'none' | 'key' | undefined
  /** Number of attempts after which a message becomes a dead letter. Default 10. */
  readonly attemptsMax?: number | undefined
  /** Delay of a message after a failed attempt. Default: exponential from 1 s to 1 h, up to 20 % less at random. */
  readonly retry?:
    | {
        readonly kind: 'fixed' | 'exponential'
        /** Delay before the second attempt; "exponential" doubles it for each further attempt. */
        readonly delay: Duration
        /** Upper limit of "exponential". Default 1 h. */
        readonly max?: Duration | undefined
        /** Random share of a delay, 0 to 1. Default 0.2. */
        readonly jitter?: number | undefined
      }
    | undefined
  /** Age at which a waiting message expires; 0: never (default). */
  readonly ttl?: Duration | undefined
  /** What happens to an expired message. Default "dead-letter". */
  readonly expired?: 'dead-letter' | 'drop' | undefined
  /** Whether messages with a higher priority are delivered first. Default false. */
  readonly priorities?: boolean | undefined
  /** Stops deliveries. */
  readonly paused?: boolean | undefined
}

/** How a delivery ended: acknowledged, a failed attempt, a dead letter, or released. */
export type SettledOutcome = 'ack' | 'fail' | 'reject' | 'release'

/** Options of a worker. `Handled` is the message that its callbacks get: the same as its handler. */
export interface WorkOptions<Handled = WorkMessage> {
  /** Name of the queue group. */
  readonly group: string
  /** Number of handlers that run at the same time. Default 10. */
  readonly concurrency?: number | undefined
  /** Limit of leased messages, both in a handler and waiting for one. Default twice `concurrency`. */
  readonly prefetch?: number | undefined
  /**
   * Lease length: the broker gives the messages of an unresponsive worker to others after this time. Default 30,000, at
   * least 1,000.
   */
  readonly leaseMs?: number | undefined
  /** Time limit of a handler. A longer call has failed, and its result is ignored. Default 600,000. */
  readonly timeoutMs?: number | undefined
  /**
   * A separate thread extends leases even while a handler blocks the event loop, but no longer than this: then the
   * process counts as hung. Default 60,000, at least 1,000.
   */
  readonly blockedMsMax?: number | undefined
  /** Where the group starts in topics that it has not read yet. Default "earliest". */
  readonly start?: 'earliest' | 'latest' | undefined
  /**
   * Settings of the group; they apply when the worker starts. Give the same settings to all workers of a group: if they
   * differ, `onError` gets a BAD_CONFIG error that names each setting and both values.
   */
  readonly settings?: QueueOptions | undefined
  /** How long `close` waits for running handlers. Default 30,000. */
  readonly closeTimeoutMs?: number | undefined
  /** Aborting it closes the worker, like `close`: the worker takes no more messages and waits for its handlers. */
  readonly signal?: AbortSignal | undefined
  /**
   * Called when the broker has durably confirmed how a delivery ended. `error` is the error of the handler, or of its
   * timeout; undefined for the outcomes "ack" and "release". `message.value` throws for a message that does not decode:
   * read `message.valueBytes`.
   */
  readonly onSettled?: ((message: Handled, outcome: SettledOutcome, error?: unknown) => void) | undefined
  /**
   * Called at once when a handler throws or exceeds `timeoutMs`. `attempt` is `message.attempt`. The default prints a
   * process warning for the first error of each kind, except `RetryAfter`. `message.value` throws for a message that does
   * not decode (`error` is the DecodeError then): read `message.valueBytes`.
   */
  readonly onFailed?: ((message: Handled, error: unknown, attempt: number) => void) | undefined
  /**
   * Called with errors of the worker itself (it tries again), with lost leases, and with the error that ends the
   * worker. The default prints a process warning for the first error of each kind.
   */
  readonly onError?: ((error: unknown) => void) | undefined
}

/** Options of a worker with a batch handler. `Handled` is the message that its callbacks get. */
export interface WorkBatchOptions<Handled = WorkMessage> extends WorkOptions<Handled> {
  /** Upper limit of messages in one batch. Default 100. */
  readonly messagesMax?: number | undefined
  /**
   * How long to wait for a full batch; 0 (default): a batch gets the messages that are available when a handler is
   * free.
   */
  readonly waitMs?: number | undefined
  /** Number of batches that are handled at the same time. Default 1. */
  readonly concurrency?: number | undefined
  /** Limit of leased messages. Default twice `concurrency` times `messagesMax`. */
  readonly prefetch?: number | undefined
}

export interface WorkSettings {
  readonly group: string
  readonly concurrency: number
  readonly prefetch: number
  readonly leaseMs: number
  readonly timeoutMs: number
  readonly blockedMsMax: number
  readonly start: 'earliest' | 'latest'
  readonly settings: QueueSettingsInput | undefined
  readonly closeTimeoutMs: number
  /** Only for a worker with a batch handler. */
  readonly batch: BatchSettings | undefined
  readonly signal: AbortSignal | undefined
  readonly onSettled: ((message: WorkMessage, outcome: SettledOutcome, error?: unknown) => void) | undefined
  /** Undefined: the worker prints warnings. */
  readonly onFailed: ((message: WorkMessage, error: unknown, attempt: number) => void) | undefined
  /** Undefined: the worker prints warnings. */
  readonly onError: ((error: unknown) => void) | undefined
}

const optionNames: OptionNames<WorkOptions<never>> = {
  group: true,
  concurrency: true,
  prefetch: true,
  leaseMs: true,
  timeoutMs: true,
  blockedMsMax: true,
  start: true,
  settings: true,
  closeTimeoutMs: true,
  signal: true,
  onSettled: true,
  onFailed: true,
  onError: true,
}
const batchOptionNames: OptionNames<WorkBatchOptions<never>> = {
  ...optionNames,
  messagesMax: true,
  waitMs: true,
}
const settingNames: OptionNames<QueueOptions> = {
  order: true,
  attemptsMax: true,
  retry: true,
  ttl: true,
  expired: true,
  priorities: true,
  paused: true,
}

const retryMaxMsDefault = 3_600_000
const jitterDefault = 0.2

/** Rejects unknown options of a worker. @throws MillraceError BAD_OPTION */
export function checkWorkOptions(where: string, options: Partial<WorkOptions<never>>): void {
  checkOptions<Partial<WorkOptions<never>>>(where, options, optionNames)
}

/** Checks the options and fills in the defaults. @throws MillraceError BAD_OPTION */
export function workSettings(options: WorkOptions<never>): WorkSettings {
  checkWorkOptions('client.work', options)
  return settingsOf(options, 10, undefined)
}

/** Like `workSettings`, for a worker with a batch handler. @throws MillraceError BAD_OPTION */
export function workBatchSettings(options: WorkBatchOptions<never>): WorkSettings {
  checkOptions<WorkBatchOptions<never>>('client.workBatch', options, batchOptionNames)
  const messagesMax = wholeOption('messagesMax', options.messagesMax ?? 100, 1)
  return settingsOf(options, 1, { messagesMax, waitMs: wholeOption('waitMs', options.waitMs ?? 0, 0) })
}

function settingsOf(
  options: WorkOptions<never>,
  concurrencyDefault: number,
  batch: BatchSettings | undefined,
): WorkSettings {
  checkGroup(options.group)
  const { start = 'earliest' } = options
  checkChoice('start', start, ['earliest', 'latest'])
  const concurrency = wholeOption('concurrency', options.concurrency ?? concurrencyDefault, 1)
  const messages = concurrency * (batch?.messagesMax ?? 1)
  const prefetch = wholeOption('prefetch', options.prefetch ?? messages * 2, 1)
  const least = batch === undefined ? '"concurrency"' : '"concurrency" times "messagesMax"'
  if (prefetch < messages) throw bad('prefetch', prefetch, `at least ${least} (${messages})`)
  return {
    batch,
    group: options.group,
    concurrency,
    prefetch,
    leaseMs: wholeOption('leaseMs', options.leaseMs ?? 30_000, 1_000),
    timeoutMs: wholeOption('timeoutMs', options.timeoutMs ?? 600_000, 1),
    blockedMsMax: wholeOption('blockedMsMax', options.blockedMsMax ?? 60_000, 1_000),
    start,
    settings: options.settings && queueSettingsInput(options.settings),
    closeTimeoutMs: wholeOption('closeTimeoutMs', options.closeTimeoutMs ?? 30_000, 0),
    signal: options.signal,
    // The compiler has checked them against the message of the handler.
    onSettled: options.onSettled as WorkSettings['onSettled'],
    onFailed: options.onFailed as WorkSettings['onFailed'],
    onError: options.onError,
  }
}

/** Converts settings to the form of the protocol. @throws MillraceError BAD_OPTION */
export function queueSettingsInput(options: QueueOptions): QueueSettingsInput {
  checkOptions('the settings of a queue group', options, settingNames, 'settings.')
  const { order, attemptsMax, retry, ttl, expired, priorities, paused } = options
  if (order !== undefined) checkChoice('settings.order', order, ['none', 'key'])
  if (expired !== undefined) checkChoice('settings.expired', expired, ['dead-letter', 'drop'])
  return {
    order,
    attemptsMax,
    retry: retry && retrySettings(retry),
    ttlMs: ttl === undefined ? undefined : durationMs('ttl', ttl),
    expired,
    priorities,
    paused,
  }
}

function retrySettings(retry: NonNullable<QueueOptions['retry']>): QueueSettings['retry'] {
  checkOptions(
    'the settings of a queue group',
    retry,
    { kind: true, delay: true, max: true, jitter: true },
    'retry.',
  )
  const { kind, delay, max = retryMaxMsDefault, jitter = jitterDefault } = retry
  checkChoice('retry.kind', kind, ['fixed', 'exponential'])
  if (!(jitter >= 0 && jitter <= 1)) throw bad('retry.jitter', jitter, 'a number from 0 to 1')
  const delayMs = durationMs('retry.delay', delay)
  return {
    kind,
    delayMs,
    maxMs: Math.max(delayMs, durationMs('retry.max', max)),
    jitterPercent: Math.round(jitter * 100),
  }
}

function checkGroup(group: unknown): void {
  if (typeof group !== 'string') throw bad('group', group, 'the name of a queue group')
}

function bad(name: string, value: unknown, expected: string): MillraceError {
  return new MillraceError(
    'BAD_OPTION',
    `the option "${name}" is ${JSON.stringify(value)}, expected ${expected}`,
  )
}
