import { list, optional, record, text, tuple } from '../shape.js'
import { command } from './command.js'
import { bytes, message, milliseconds } from './fields.js'

/** Where replies go: made up by the one who asks, so that nobody can guess it (a UUID). */
const address = text(100)
const requestId = text(100)

/**
 * Sends the reply to a request: the payload is its value. It goes straight to whoever polls the address, through no log; when
 * nobody does it is kept for some seconds.
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

/** Waits for replies to an address; a new poll ends the one before. The payload holds the values back to back. */
export const replyPoll = command({
  number: 61,
  name: 'reply.poll',
  since: 1,
  request: record({ address, waitMs: milliseconds }),
  reply: record({
    /** [requestId, bytes of the value, why there is none]. */
    replies: list(tuple(requestId, bytes, optional(message)), 100_000),
  }),
})
