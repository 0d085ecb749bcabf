import { MillraceError, type QueueSettings, type QueueSettingsInput } from '../../protocol/index.js'
import { checkChoice, checkOptions, type OptionNames } from '../options.js'
import { type Duration, durationMs } from '../units.js'
import type { BatchSettings } from './work_batch.js'
import type { WorkMessage } from './work_message.js'

export type { QueueSettings } from '../../protocol/index.js'

/** How a queue group handles its messages; kept by the broker. What is absent keeps its value, or the default. */
export interface QueueOptions {
  /** "key": at most one message of a key is on its way at a time, in order. Default "none". */
  readonly order?: 'none' | 'key' | undefined
  /** Attempts after which a message becomes a dead letter. Default 10. */
  readonly attemptsMax?: number | undefined
  /** How long a message that has failed waits. Default exponential from 1 s to 1 h, up to 20 % less at random. */
  readonly retry?:
    | {
        readonly kind: 'fixed' | 'exponential'
        /** Before the second attempt; "exponential" doubles it each time. */
        readonly delay: Duration
        /** Where "exponential" stops growing. Default 1 h. */
        readonly max?: Duration | undefined
        /** Share of a delay that is random, 0 to 1. Default 0.2. */
        readonly jitter?: number | undefined
      }
    | undefined
  /** Age at which a message that waits expires; 0: never (default). */
  readonly ttl?: Duration | undefined
  /** What becomes of a message that expires. Default "dead-letter". */
  readonly expired?: 'dead-letter' | 'drop' | undefined
  /** Whether messages with a higher priority go first. Default false. */
  readonly priorities?: boolean | undefined
  /** Whether nothing is handed out. */
  readonly paused?: boolean | undefined
}

/** How a delivery ended: done, an attempt that failed, a dead letter, or given back. */
export type SettledOutcome = 'ack' | 'fail' | 'reject' | 'release'

/** How a worker works. */
export interface WorkOptions {
  /** The queue group. */
  readonly group: string
  /** Handlers that run at the same time. Default 10. */
  readonly concurrency?: number | undefined
  /** Messages that are leased at most: those that are handled and those that wait for it. Default twice `concurrency`. */
  readonly prefetch?: number | undefined
  /** After this the broker gives messages of a worker that fell silent to others. Default 30,000, at least 1,000. */
  readonly leaseMs?: number | undefined
  /** A handler that takes longer has failed, and its result counts no more. Default 600,000. */
  readonly timeoutMs?: number | undefined
  /**
   * Leases are prolonged by a thread of their own, also while a handler keeps the event loop busy, but no longer than
   * this: then the process counts as hung. Default 60,000, at least 1,000.
   */
  readonly blockedMsMax?: number | undefined
  /** Where the group begins in topics that it has not read yet. Default "earliest". */
  readonly start?: 'earliest' | 'latest' | undefined
  /**
   * Settings of the group, applied when the worker starts. Give the same to all workers of a group: `onError` is called
   * with BAD_CONFIG, which names each setting and both values, when they differ from those that other workers gave.
   */
  readonly settings?: QueueOptions | undefined
  /** How long `close` lets handlers finish. Default 30,000. */
  readonly closeTimeoutMs?: number | undefined
  /** Aborting it closes the worker, as `close` does: it takes no more messages and lets handlers finish. */
  readonly signal?: AbortSignal | undefined
  /**
   * Called when the broker has confirmed, durably, how a delivery ended. `error` is what the handler threw, or the error of
   * its timeout; undefined for the outcomes "ack" and "release".
   */
  readonly onSettled?: ((message: WorkMessage, outcome: SettledOutcome, error?: unknown) => void) | undefined
  /**
   * Called at once when a handler throws or takes longer than `timeoutMs`. `attempt` is `message.attempt`. The default
   * prints a process warning for the first error of each kind; it does not warn about `RetryAfter`.
   */
  readonly onFailed?: ((message: WorkMessage, error: unknown, attempt: number) => void) | undefined
  /**
   * Called with what the worker itself could not do and tries again, with leases that were lost, and with the error that
   * ends the worker. The default prints a process warning for the first error of each kind.
   */
  readonly onError?: ((error: unknown) => void) | undefined
}

/** How a worker works that handles batches. */
export interface WorkBatchOptions extends WorkOptions {
  /** Most messages of one batch. Default 100. */
  readonly messagesMax?: number | undefined
  /** How long messages wait for a full batch; 0 (default): a batch has what is there when a handler is free. */
  readonly waitMs?: number | undefined
  /** Batches that are handled at the same time. Default 1. */
  readonly concurrency?: number | undefined
  /** Messages that are leased at most. Default twice `concurrency` times `messagesMax`. */
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
  /** For a worker that handles batches. */
  readonly batch: BatchSettings | undefined
  readonly signal: AbortSignal | undefined
  readonly onSettled: ((message: WorkMessage, outcome: SettledOutcome, error?: unknown) => void) | undefined
  /** Undefined: the worker warns. */
  readonly onFailed: ((message: WorkMessage, error: unknown, attempt: number) => void) | undefined
  /** Undefined: the worker warns. */
  readonly onError: ((error: unknown) => void) | undefined
}

const optionNames: OptionNames<WorkOptions> = {
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
const batchOptionNames: OptionNames<WorkBatchOptions> = { ...optionNames, messagesMax: true, waitMs: true }
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

/** Refuses unknown options of a worker. @throws MillraceError BAD_OPTION */
export function checkWorkOptions(where: string, options: Partial<WorkOptions>): void {
  checkOptions<Partial<WorkOptions>>(where, options, optionNames)
}

/** Checks the options and fills in the defaults. @throws MillraceError BAD_OPTION */
export function workSettings(options: WorkOptions): WorkSettings {
  checkWorkOptions('client.work', options)
  return settingsOf(options, 10, undefined)
}

/** As `workSettings`, for a worker that handles batches. @throws MillraceError BAD_OPTION */
export function workBatchSettings(options: WorkBatchOptions): WorkSettings {
  checkOptions<WorkBatchOptions>('client.workBatch', options, batchOptionNames)
  const messagesMax = whole('messagesMax', options.messagesMax ?? 100, 1)
  return settingsOf(options, 1, { messagesMax, waitMs: whole('waitMs', options.waitMs ?? 0, 0) })
}

function settingsOf(
  options: WorkOptions,
  concurrencyDefault: number,
  batch: BatchSettings | undefined,
): WorkSettings {
  checkGroup(options.group)
  const { start = 'earliest' } = options
  checkChoice('start', start, ['earliest', 'latest'])
  const concurrency = whole('concurrency', options.concurrency ?? concurrencyDefault, 1)
  const messages = concurrency * (batch?.messagesMax ?? 1)
  const prefetch = whole('prefetch', options.prefetch ?? messages * 2, 1)
  const least = batch === undefined ? '"concurrency"' : '"concurrency" times "messagesMax"'
  if (prefetch < messages) throw bad('prefetch', prefetch, `at least ${least} (${messages})`)
  return {
    batch,
    group: options.group,
    concurrency,
    prefetch,
    leaseMs: whole('leaseMs', options.leaseMs ?? 30_000, 1_000),
    timeoutMs: whole('timeoutMs', options.timeoutMs ?? 600_000, 1),
    blockedMsMax: whole('blockedMsMax', options.blockedMsMax ?? 60_000, 1_000),
    start,
    settings: options.settings && queueSettingsInput(options.settings),
    closeTimeoutMs: whole('closeTimeoutMs', options.closeTimeoutMs ?? 30_000, 0),
    signal: options.signal,
    onSettled: options.onSettled,
    onFailed: options.onFailed,
    onError: options.onError,
  }
}

/** Settings as the broker takes them. @throws MillraceError BAD_OPTION */
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

function whole(name: string, value: number, min: number): number {
  if (Number.isSafeInteger(value) && value >= min) return value
  throw bad(name, value, `a whole number from ${min}`)
}

function bad(name: string, value: unknown, expected: string): MillraceError {
  return new MillraceError(
    'BAD_OPTION',
    `the option "${name}" is ${JSON.stringify(value)}, expected ${expected}`,
  )
}
