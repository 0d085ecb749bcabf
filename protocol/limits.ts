/**
 * Limits of the wire and of names. `hello` announces limits that a broker can configure; clients obey these
 * announcements, never the constants here.
 */
export const limits = {
  /** Bytes of a frame after its length field. */
  frameBytesMax: 16 * 1024 * 1024,
  /** The same before the reply to `hello`. */
  frameBytesBeforeHelloMax: 4 * 1024,
  /** The msgpack body of a frame. */
  bodyBytesMax: 4 * 1024 * 1024,
  /** Nesting of arrays and maps in a body. */
  bodyDepthMax: 8,
  /** Different keys of all maps in a body. */
  bodyKeysMax: 1_024,
  /** One record batch, header included, as stored: so also the largest message, less some overhead. */
  batchBytesMax: 4 * 1024 * 1024,
  /** Size of a compressed batch after decompression. */
  batchRecordsBytesMax: 32 * 1024 * 1024,
  batchRecordsMax: 1_000_000,
  recordHeadersMax: 256,
  /** Requests of one connection without a reply. */
  inFlightRequestsMax: 1024,
  /** Time for a connection to send `hello`. */
  helloTimeoutMs: 2_000,
  /** Names in the field `connection` of `hello`. */
  connectionClientBytesMax: 100,
  connectionLaneBytesMax: 100,
  topicNameBytesMax: 200,
  groupNameBytesMax: 200,
  memberIdBytesMax: 100,
  /** Size of the metadata that a member may store with a committed offset. */
  commitMetadataBytesMax: 1024,
  partitionsPerTopicMax: 10_000,
  partitionsPerBrokerMax: 20_000,
  topicsPerGroupMax: 100,
  fetchWaitMsMax: 60_000,
  fetchPartitionsMax: 20_000,
  sessionTimeoutMsMin: 1_000,
  sessionTimeoutMsMax: 30 * 60_000,
  /** Size of a message id, for deduplication; at least one byte. */
  messageIdBytesMax: 200,
  /** Messages of one `publish.each`. */
  publishEachMessagesMax: 10_000,
  /** Longest delay of a message: a year and a day. */
  delayMsMax: 366 * 86_400_000,
  /** Longest time that the broker remembers message ids. */
  dedupeWindowMsMax: 7 * 86_400_000,
  /** Entries of one page of delayed messages or schedules. */
  listPageMax: 1_000,
  scheduleNameBytesMax: 200,
  /** Size of the message of a schedule, as a record. */
  scheduleMessageBytesMax: 64 * 1024,
  /** Missed due times that a schedule catches up on at most. */
  scheduleMissedMax: 1_000,
} as const

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

/** Describes the error in the name of a topic or group; undefined if the name is valid. */
export function nameProblem(name: string, bytesMax: number): string | undefined {
  if (name.length === 0) return 'it is empty'
  if (name.length > bytesMax) return `it has ${name.length} characters, expected at most ${bytesMax}`
  if (!namePattern.test(name)) {
    return 'only letters, digits, ".", "_" and "-" are allowed, and the first must be a letter or digit'
  }
  return undefined
}
