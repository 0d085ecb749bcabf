/**
 * The table of errors: the meaning of a code, whether a repeat of the same request may succeed, and
 * its number on the wire. Numbers are never reused or renumbered, because clients of other versions know them.
 */
export const errorTable = {
  INTERNAL: { number: 1, retryable: false, summary: 'an unexpected error happened in the broker' },
  BAD_FRAME: { number: 2, retryable: false, summary: 'a frame is malformed or larger than the limit' },
  BAD_REQUEST: { number: 3, retryable: false, summary: 'a request has a missing or wrong field' },
  UNKNOWN_COMMAND: { number: 4, retryable: false, summary: 'the broker does not know this command' },
  UNSUPPORTED_VERSION: {
    number: 5,
    retryable: false,
    summary: 'the client and the broker support no common protocol version',
  },
  HELLO_REQUIRED: { number: 6, retryable: false, summary: 'the first frame of a connection must be hello' },
  LIMIT_EXCEEDED: { number: 7, retryable: false, summary: 'a count or size exceeds its limit' },
  OVERLOADED: {
    number: 8,
    retryable: true,
    summary: 'the broker has no memory for this request now; try again later',
  },
  DRAINING: { number: 9, retryable: true, summary: 'the broker is shutting down' },
  NOT_OWNER: {
    number: 10,
    retryable: true,
    summary: 'another broker owns this partition; request the metadata again',
  },
  STALE_CONNECTION: {
    number: 11,
    retryable: true,
    summary: 'the client has opened a newer connection of this lane; open another one',
  },
  UNKNOWN_TOPIC: { number: 20, retryable: false, summary: 'no topic has this name or id' },
  TOPIC_EXISTS: { number: 21, retryable: false, summary: 'a topic with this name already exists' },
  UNKNOWN_PARTITION: { number: 22, retryable: false, summary: 'the topic has no partition with this number' },
  BAD_NAME: {
    number: 23,
    retryable: false,
    summary: 'a name is empty, too long or contains a character that is not allowed',
  },
  BAD_CONFIG: { number: 24, retryable: false, summary: 'a setting is unknown or its value is not allowed' },
  BAD_BATCH: { number: 30, retryable: false, summary: 'a record batch is malformed' },
  BATCH_TOO_LARGE: {
    number: 31,
    retryable: false,
    summary: 'a record batch or message exceeds the size limit',
  },
  OUT_OF_ORDER_SEQUENCE: {
    number: 32,
    retryable: true,
    summary: 'an earlier batch of this producer is missing',
  },
  PRODUCER_FENCED: { number: 33, retryable: false, summary: 'a newer epoch of this producer has published' },
  DUPLICATE_SEQUENCE: {
    number: 34,
    retryable: false,
    summary: 'the broker already has this batch but no longer knows its offset',
  },
  OUTCOME_UNKNOWN: {
    number: 35,
    retryable: false,
    summary: 'an earlier request may have published this message, and the broker cannot know it any more',
  },
  OFFSET_OUT_OF_RANGE: {
    number: 40,
    retryable: false,
    summary: 'the offset is before the start or past the end of the partition',
  },
  CORRUPT: {
    number: 41,
    retryable: false,
    summary: 'stored data is damaged, so the broker cannot return it',
  },
  STORAGE_FULL: {
    number: 42,
    retryable: true,
    summary: 'the disk has too little free space; the broker still serves reads',
  },
  STORAGE_FAILED: {
    number: 43,
    retryable: true,
    summary: 'a write to the disk failed; the broker reopens and verifies the log',
  },
  FOLDER_IN_USE: { number: 44, retryable: false, summary: 'another process uses the data folder' },
  UNKNOWN_FORMAT: {
    number: 45,
    retryable: false,
    summary: 'the data folder has a format that this version does not support',
  },
  UNKNOWN_GROUP: { number: 50, retryable: false, summary: 'no group has this name' },
  UNKNOWN_MEMBER: {
    number: 51,
    retryable: false,
    summary: 'the group does not know this member; join again',
  },
  FENCED: { number: 52, retryable: false, summary: 'the partition now belongs to another member' },
  GROUP_ACTIVE: { number: 53, retryable: false, summary: 'the group has members; stop them first' },
  LEASE_LOST: {
    number: 54,
    retryable: false,
    summary: 'the lease on this message has ended; another worker may have the message',
  },
  UNKNOWN_WORKER: {
    number: 55,
    retryable: false,
    summary: 'the queue group does not know this worker on this connection; open the group again',
  },
  UNKNOWN_SCHEDULE: { number: 60, retryable: false, summary: 'no schedule has this name' },
  BAD_SCHEDULE: {
    number: 61,
    retryable: false,
    summary: 'the cron pattern or time zone of a schedule is invalid, or the schedule never fires',
  },
  BACKUP_RUNNING: {
    number: 90,
    retryable: false,
    summary: 'another backup is running; the broker makes one backup at a time',
  },
  UNKNOWN_BACKUP: {
    number: 91,
    retryable: false,
    summary:
      'the backup has ended: the broker restarted or reopened its log, or the client read nothing for a minute',
  },
  BAD_BACKUP: { number: 92, retryable: false, summary: 'a backup is incomplete or damaged' },
  REPLY_FAILED: {
    number: 71,
    retryable: false,
    summary: 'the service could not handle the request; the error message comes from the service',
  },
  NOT_CONNECTED: { number: 100, retryable: true, summary: 'the client has no connection to a broker' },
  CONNECTION_LOST: {
    number: 101,
    retryable: true,
    summary: 'the connection closed before the reply arrived; the outcome is unknown',
  },
  REQUEST_TIMEOUT: {
    number: 102,
    retryable: true,
    summary: 'the reply did not arrive in time; the outcome is unknown',
  },
  DELIVERY_TIMEOUT: {
    number: 103,
    retryable: false,
    summary: 'the broker did not acknowledge a message in time; the outcome is unknown',
  },
  CLOSED: { number: 104, retryable: false, summary: 'the client, producer or consumer is closed' },
  BUFFER_FULL: { number: 105, retryable: true, summary: 'the buffer of unsent messages is full' },
  VALUE_TOO_LARGE: {
    number: 106,
    retryable: false,
    summary: 'a message exceeds the size limit of the broker',
  },
  ENCODE_FAILED: {
    number: 107,
    retryable: false,
    summary: 'a value does not match the codec or schema of the topic',
  },
  DECODE_FAILED: {
    number: 108,
    retryable: false,
    summary: 'a stored value does not match the codec or schema of the topic',
  },
  BAD_OPTION: { number: 109, retryable: false, summary: 'an option is unknown or its value is not allowed' },
  LEASE_THREAD_FAILED: {
    number: 110,
    retryable: true,
    summary: 'the lease thread did not start; the main thread extends the leases',
  },
  CODEC_MISSING: {
    number: 111,
    retryable: false,
    summary: 'the package of a compression codec could not be loaded',
  },
} as const satisfies Record<string, { number: number; retryable: boolean; summary: string }>

/** A stable name of an error. Programs branch on it, never on the message. */
export type ErrorCode = keyof typeof errorTable

const codeByNumber: ReadonlyMap<number, ErrorCode> = new Map(
  Object.entries(errorTable).map(([code, entry]) => [entry.number, code as ErrorCode]),
)

/**
 * Every error that Millrace throws or sends. `message` names the problem and the expected value; `code` is for
 * programs; `retryable` says whether the same call may succeed later; `cause` is the underlying error, if any.
 */
export class MillraceError extends Error {
  override readonly name = 'MillraceError'
  readonly code: ErrorCode
  readonly retryable: boolean

  constructor(code: ErrorCode, message?: string, options?: { cause?: unknown }) {
    super(message ?? errorTable[code].summary, options)
    this.code = code
    this.retryable = errorTable[code].retryable
  }
}

/** Returns the code with this number on the wire. An unknown number (from a newer broker) becomes INTERNAL. */
export function errorCodeOf(number: number): ErrorCode {
  return codeByNumber.get(number) ?? 'INTERNAL'
}

/** Whether `error` is a MillraceError, optionally with one of these codes. */
export function isMillraceError(error: unknown, ...codes: ErrorCode[]): error is MillraceError {
  return error instanceof MillraceError && (codes.length === 0 || codes.includes(error.code))
}
