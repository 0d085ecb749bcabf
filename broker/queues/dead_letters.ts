import { limits, RecordBatchBuilder } from '../../protocol/index.js'
import type { ReadRecord } from './read_records.js'

/** Why a message became a dead letter. */
export type DeathReason = 'attempts' | 'rejected' | 'expired' | 'unreadable' | 'too-large'

export interface Death {
  readonly group: string
  readonly reason: DeathReason
  /** The error text of the worker, if there is one. */
  readonly error: string
  readonly attempts: number
  readonly atMs: number
  readonly origin: { readonly topic: string; readonly partition: number; readonly offset: number }
  /** Number of messages from the origin that this letter stands for; one if absent. */
  readonly count?: number
  /** Publish time of a message that cannot be read; ms since 1970. */
  readonly publishedAtMs?: number
}

/** Headers of dead letters, as text. */
export const deadHeaders = {
  topic: 'millrace-dead-topic',
  partition: 'millrace-dead-partition',
  offset: 'millrace-dead-offset',
  group: 'millrace-dead-group',
  attempts: 'millrace-dead-attempts',
  reason: 'millrace-dead-reason',
  error: 'millrace-dead-error',
  firstAtMs: 'millrace-dead-first-at-ms',
  atMs: 'millrace-dead-at-ms',
  /** Size in bytes of a message that was too large for its dead letter; 0 if the message can't be read. */
  cut: 'millrace-dead-cut',
  /** Number of messages of a batch that cannot be opened. */
  count: 'millrace-dead-count',
} as const

const ownHeadersMax = limits.recordHeadersMax - Object.keys(deadHeaders).length

/**
 * Builds a batch with one dead letter: the original message, and headers with its origin and the reason. A letter that
 * was redriven and dies again keeps its first origin.
 * @param message undefined if it cannot be read any more: the letter then has only the headers of the broker
 * @param bytesMax largest size of the batch. A larger one is compressed. If that is not enough, the letter has only the
 * headers of the broker, including `millrace-dead-cut` with the size of the message.
 */
export function deadLetter(message: ReadRecord | undefined, death: Death, bytesMax: number): Uint8Array {
  const letter = letterOf(message, message, death)
  if (letter.bytes <= bytesMax) return letter.finish()
  const packed = letter.finish('gzip')
  return packed.length <= bytesMax ? packed : letterOf(undefined, message, death).finish()
}

/** @param kept the message, or undefined for a letter without its key, value and headers */
function letterOf(
  kept: ReadRecord | undefined,
  message: ReadRecord | undefined,
  death: Death,
): RecordBatchBuilder {
  const before = (name: string): string | undefined => {
    const value = message?.headers?.[name]
    return value && Buffer.from(value).toString()
  }
  const builder = new RecordBatchBuilder((kept?.bytes.length ?? 0) + 1024)
  builder.append({
    key: kept?.key ?? null,
    value: kept?.value ?? null,
    headers: {
      ...Object.fromEntries(Object.entries(kept?.headers ?? {}).slice(0, ownHeadersMax)),
      [deadHeaders.topic]: before(deadHeaders.topic) ?? death.origin.topic,
      [deadHeaders.partition]: before(deadHeaders.partition) ?? String(death.origin.partition),
      [deadHeaders.offset]: before(deadHeaders.offset) ?? String(death.origin.offset),
      [deadHeaders.group]: death.group,
      [deadHeaders.attempts]: String(death.attempts),
      [deadHeaders.reason]: death.reason,
      [deadHeaders.error]: death.error,
      [deadHeaders.firstAtMs]:
        before(deadHeaders.firstAtMs) ?? String(message?.timestamp ?? death.publishedAtMs ?? death.atMs),
      [deadHeaders.atMs]: String(death.atMs),
      ...(kept === undefined && death.reason !== 'unreadable'
        ? { [deadHeaders.cut]: String(message?.bytes.length ?? 0) }
        : {}),
      ...(death.count === undefined ? {} : { [deadHeaders.count]: String(death.count) }),
    },
    timestamp: death.atMs,
  })
  return builder
}

/**
 * Whether a dead letter has its message: without one there is nothing to deliver again. A publisher may have set the
 * headers of a message that has a key or a value.
 */
export function hasMessage({ key, value, headers }: ReadRecord): boolean {
  if (key !== undefined || value !== undefined) return true
  const reason: DeathReason = 'unreadable'
  return (
    headers?.[deadHeaders.cut] === undefined &&
    Buffer.from(headers?.[deadHeaders.reason] ?? []).toString() !== reason
  )
}

export interface DeadLetterFields {
  readonly offset: number
  readonly topic: string
  readonly partition: number
  readonly originOffset: number
  readonly attempts: number
  readonly reason: string
  readonly error: string
  readonly diedAtMs: number
}

/** The metadata in the headers of a dead letter. */
export function readDeadLetter({ offset, headers, timestamp }: ReadRecord): DeadLetterFields {
  const textOf = (name: string): string => Buffer.from(headers?.[name] ?? []).toString()
  const numberOf = (name: string): number => {
    const value = Number(textOf(name))
    return Number.isSafeInteger(value) && value >= 0 ? value : 0
  }
  return {
    offset,
    topic: textOf(deadHeaders.topic).slice(0, 200),
    partition: numberOf(deadHeaders.partition),
    originOffset: numberOf(deadHeaders.offset),
    attempts: numberOf(deadHeaders.attempts),
    reason: textOf(deadHeaders.reason).slice(0, 64),
    error: textOf(deadHeaders.error).slice(0, 1_000),
    diedAtMs: timestamp,
  }
}
