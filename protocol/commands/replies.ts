import { list, optional, record, text, tuple } from '../shape.js'
import { command } from './command.js'
import { bytes, message, milliseconds } from './fields.js'

/** Address for replies: chosen by the requester, and not guessable (a UUID). */
const address = text(100)
const requestId = text(100)

/**
 * Sends the reply to a request: the payload is its value. The broker passes it directly to the client that polls the
 * address, without a log. If no client polls, the broker keeps it for some seconds.
 */
export const replySend = command({
  number: 60,
  name: 'reply.send',
  since: 1,
  request: record({
    to: address,
    requestId,
    /** Why there is no value. */
    error: optional(message),
  }),
  reply: record({}),
})

/** Waits for replies to an address; a new poll ends the previous one. The payload holds the values back to back. */
export const replyPoll = command({
  number: 61,
  name: 'reply.poll',
  since: 1,
  request: record({ address, waitMs: milliseconds }),
  reply: record({
    /** [requestId, bytes of the value, reason if there is no value]. */
    replies: list(tuple(requestId, bytes, optional(message)), 100_000),
  }),
})
