/**
 * Limits of the wire and of names. What a broker may configure differently is announced in `hello`; clients obey what
 * the broker said, never these numbers.
 */
export const limits = {
  /** A frame after its length field. */
  frameBytesMax: 16 * 1024 * 1024,
  /** A frame before `hello` has been answered. */
  frameBytesBeforeHelloMax: 4 * 1024,
  /** The msgpack body of a frame. */
  bodyBytesMax: 4 * 1024 * 1024,
  /** Nesting of arrays and maps in a body. */
  bodyDepthMax: 8,
  /** One record batch, header included, as stored: so also the largest message, less some overhead. */
  batchBytesMax: 4 * 1024 * 1024,
  /** What a compressed batch may grow to. */
  batchRecordsBytesMax: 32 * 1024 * 1024,
  batchRecordsMax: 1_000_000,
  recordHeadersMax: 256,
  /** Requests of one connection that wait for their replies. */
  inFlightRequestsMax: 1024,
  /** How long a connection may take to say `hello`. */
  helloTimeoutMs: 2_000,
  topicNameBytesMax: 200,
  groupNameBytesMax: 200,
  memberIdBytesMax: 100,
  /** What a member may store with a committed offset. */
  commitMetadataBytesMax: 1024,
  partitionsPerTopicMax: 10_000,
  partitionsPerBrokerMax: 20_000,
  topicsPerGroupMax: 100,
  fetchWaitMsMax: 60_000,
  fetchPartitionsMax: 20_000,
  sessionTimeoutMsMin: 1_000,
  sessionTimeoutMsMax: 30 * 60_000,
  /** An id by which a message is recognized; at least one byte. */
  messageIdBytesMax: 200,
  /** Messages of one `publish.each`. */
  publishEachMessagesMax: 10_000,
  /** How far ahead a message may be delayed: a year and a day. */
  delayMsMax: 366 * 86_400_000,
  /** How long ids of messages may be remembered. */
  dedupeWindowMsMax: 7 * 86_400_000,
  /** Entries of one page of delayed messages or schedules. */
  listPageMax: 1_000,
  scheduleNameBytesMax: 200,
  /** The message of a schedule, as a record. */
  scheduleMessageBytesMax: 64 * 1024,
  /** Due times that a schedule makes up for at most. */
  scheduleMissedMax: 1_000,
} as const

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

/** What is wrong with the name of a topic or group, or undefined when nothing is. */
export function nameProblem(name: string, bytesMax: number): string | undefined {
  if (name.length === 0) return 'it is empty'
  if (name.length > bytesMax) return `it has ${name.length} characters, at most ${bytesMax} are allowed`
  if (!namePattern.test(name)) {
    return 'only letters, digits, ".", "_" and "-" are allowed, and the first must be a letter or digit'
  }
  return undefined
}
