import { commands, type ErrorCode, MillraceError } from '../protocol/index.js'

/** They change nothing on the broker, so that the outcome of an attempt without a reply does not matter. */
const reads: ReadonlySet<unknown> = new Set([
  commands.metadata,
  commands.status,
  commands.producerInit,
  commands.topicList,
  commands.topicDescribe,
  commands.offsetsList,
  commands.groupList,
  commands.groupDescribe,
  commands.queueList,
  commands.queueDescribe,
  commands.queueDeadLetters,
  commands.queuePeek,
  commands.delayedList,
  commands.scheduleList,
  commands.backupBegin,
  commands.backupRead,
])

/** Errors that already say that the outcome is unknown. */
const unknownCodes: ReadonlySet<ErrorCode> = new Set(['CONNECTION_LOST', 'REQUEST_TIMEOUT', 'STORAGE_FAILED'])

/** Errors that are, or may be, no answer of the broker to the request. */
const clientCodes: ReadonlySet<ErrorCode> = new Set(['CLOSED', 'BAD_FRAME', 'LIMIT_EXCEEDED', 'INTERNAL'])

/**
 * Returns the error for the caller of a request that the client does not send again.
 * @param last the error of the last attempt
 * @param unanswered the error of an attempt that the broker may have executed
 * @param wasSent whether the last attempt was sent
 */
export function finalErrorOf(
  command: object,
  last: unknown,
  unanswered: MillraceError | undefined,
  wasSent: boolean,
): unknown {
  if (!(last instanceof MillraceError) || reads.has(command)) return last
  if (unknownCodes.has(last.code)) return last
  // A final refusal is the broker's answer to the earlier attempts too: it knows a repeat of what it has done.
  if (wasSent && !last.retryable && !clientCodes.has(last.code)) return last
  if (unanswered !== undefined)
    return new MillraceError(
      unanswered.code,
      `the outcome is unknown because of an earlier attempt (${unanswered.message}); the last attempt failed with ${last.code}: ${last.message}`,
      { cause: last },
    )
  if (last.code !== 'CLOSED' || !wasSent) return last
  return new MillraceError(
    'CONNECTION_LOST',
    'the client was closed before the reply arrived; the outcome is unknown',
    { cause: last },
  )
}
