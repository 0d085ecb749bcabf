/**
 * The table of errors: the meaning of a code, whether a repeat of the same request may succeed, and
 * its number on the wire. Numbers are never reused or renumbered, because clients of other versions know them.
 */
export const errorTable = {
  INTERNAL: { number: 1, retryable: false, summary: 'the broker failed in a way it did not expect' },
  BAD_FRAME: { number: 2, retryable: false, summary: 'a frame is malformed or larger than the limit' },
  BAD_REQUEST: { number: 3, retryable: false, summary: 'a request has a missing or wrong field' },
  UNKNOWN_COMMAND: { number: 4, retryable: false, summary: 'the broker does not know this command' },
  UNSUPPORTED_VERSION: {
    number: 5,
    retryable: false,
    summary: 'client and broker have no protocol version in common',
  },
  HELLO_REQUIRED: { number: 6, retryable: false, summary: 'the first frame of a connection must be hello' },
  LIMIT_EXCEEDED: { number: 7, retryable: false, summary: 'a count or size is over its limit' },
  OVERLOADED: { number: 8, retryable: true, summary: 'the broker has no room for this request now' },
  DRAINING: { number: 9, retryable: true, summary: 'the broker is shutting down' },
  NOT_OWNER: {
    number: 10,
    retryable: true,
    summary: 'another broker owns this partition; ask for metadata again',
  },
  UNKNOWN_TOPIC: { number: 20, retryable: false, summary: 'there is no topic of this name or id' },
  TOPIC_EXISTS: { number: 21, retryable: false, summary: 'a topic of this name exists already' },
  UNKNOWN_PARTITION: { number: 22, retryable: false, summary: 'the topic has no partition of this number' },
  BAD_NAME: {
    number: 23,
    retryable: false,
    summary: 'a name has characters or a length that are not allowed',
  },
  BAD_CONFIG: { number: 24, retryable: false, summary: 'a setting is unknown or its value is not allowed' },
  BAD_BATCH: { number: 30, retryable: false, summary: 'a record batch is malformed' },
  BATCH_TOO_LARGE: { number: 31, retryable: false, summary: 'a record batch is larger than the limit' },
  OUT_OF_ORDER_SEQUENCE: {
    number: 32,
    retryable: true,
    summary: 'a batch of this producer is missing before this one',
  },
  PRODUCER_FENCED: { number: 33, retryable: false, summary: 'a newer epoch of this producer has published' },
  DUPLICATE_SEQUENCE: {
    number: 34,
    retryable: false,
    summary: 'this batch was appended before; its offset is no longer known',
  },
  OFFSET_OUT_OF_RANGE: {
    number: 40,
    retryable: false,
    summary: 'the offset is before the start or past the end of the partition',
  },
  CORRUPT: { number: 41, retryable: false, summary: 'stored data is damaged and is not served' },
  STORAGE_FULL: { number: 42, retryable: true, summary: 'the disk has too little space left; reads go on' },
  STORAGE_FAILED: {
    number: 43,
    retryable: true,
    summary: 'a write was rejected; the log is being reopened and verified',
  },
  FOLDER_IN_USE: { number: 44, retryable: false, summary: 'another process holds the data folder' },
  UNKNOWN_FORMAT: {
    number: 45,
    retryable: false,
    summary: 'the data folder has a format that this version does not know',
  },
  UNKNOWN_GROUP: { number: 50, retryable: false, summary: 'there is no consumer group of this name' },
  UNKNOWN_MEMBER: {
    number: 51,
    retryable: false,
    summary: 'the group does not know this member; join again',
  },
  FENCED: { number: 52, retryable: false, summary: 'the partition has moved to another member since' },
  GROUP_ACTIVE: { number: 53, retryable: false, summary: 'the group has members; stop them first' },
  LEASE_LOST: {
    number: 54,
    retryable: false,
    summary: 'the message is not under this lease any more; somebody else may have it',
  },
  UNKNOWN_WORKER: {
    number: 55,
    retryable: false,
    summary: 'the queue group does not know this worker on this connection; open it again',
  },
  UNKNOWN_SCHEDULE: { number: 60, retryable: false, summary: 'there is no schedule of this name' },
  BAD_SCHEDULE: {
    number: 61,
    retryable: false,
    summary: 'a schedule has a pattern or time zone that can not be read, or is never due',
  },
  BACKUP_RUNNING: { number: 90, retryable: false, summary: 'the broker makes one backup at a time' },
  UNKNOWN_BACKUP: {
    number: 91,
    retryable: false,
    summary: 'the backup has ended: the broker or its log started again, or nobody read it for a minute',
  },
  BAD_BACKUP: { number: 92, retryable: false, summary: 'a backup is incomplete or damaged' },
  REPLY_FAILED: {
    number: 71,
    retryable: false,
    summary: 'the service failed to handle the request; the message is its own',
  },
  NOT_CONNECTED: { number: 100, retryable: true, summary: 'there is no connection to a broker' },
  CONNECTION_LOST: {
    number: 101,
    retryable: true,
    summary: 'the connection ended before the reply; the outcome is unknown',
  },
  REQUEST_TIMEOUT: { number: 102, retryable: true, summary: 'no reply came in time; the outcome is unknown' },
  DELIVERY_TIMEOUT: {
    number: 103,
    retryable: false,
    summary: 'a message could not be delivered in time; the outcome is unknown',
  },
  CLOSED: { number: 104, retryable: false, summary: 'the client, producer or consumer was closed' },
  BUFFER_FULL: { number: 105, retryable: true, summary: 'the buffer of unsent messages is full' },
  VALUE_TOO_LARGE: { number: 106, retryable: false, summary: 'a message is larger than the broker allows' },
  ENCODE_FAILED: { number: 107, retryable: false, summary: 'a value does not fit the topic codec or schema' },
  DECODE_FAILED: {
    number: 108,
    retryable: false,
    summary: 'a stored value does not fit the topic codec or schema',
  },
  BAD_OPTION: { number: 109, retryable: false, summary: 'an option has a value that is not allowed' },
  LEASE_THREAD_FAILED: {
    number: 110,
    retryable: true,
    summary: 'the thread that extends leases did not start; the main thread extends them',
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
