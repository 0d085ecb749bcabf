import { bool, integer, list, oneOf, optional, real, record, text } from '../shape.js'
import { command } from './command.js'
import { bytes, label, message, milliseconds } from './fields.js'

/** The protocol version of this code, and the oldest that it still speaks. */
export const protocolVersion = 1
export const protocolVersionMin = 1

/** What a broker allows; a client keeps to these, not to its own constants. */
export const brokerLimits = record({
  frameBytesMax: bytes,
  batchBytesMax: bytes,
  inFlightRequestsMax: integer(1),
  fetchWaitMsMax: milliseconds,
  sessionTimeoutMsMin: milliseconds,
  sessionTimeoutMsMax: milliseconds,
})

/** First frame of every connection: agrees on a version and tells the limits. */
export const hello = command({
  number: 1,
  name: 'hello',
  since: 1,
  request: record({
    versionMin: integer(1, 0xffff),
    versionMax: integer(1, 0xffff),
    clientName: label,
    clientVersion: label,
    /** Credentials of brokers that want them; ignored by those that don't. */
    token: optional(text(2048)),
  }),
  reply: record({
    version: integer(1, 0xffff),
    brokerId: integer(),
    brokerVersion: label,
    limits: brokerLimits,
  }),
})

/** Does nothing: shows that the peer is alive. */
export const ping = command({ number: 2, name: 'ping', since: 1, request: record({}), reply: record({}) })

/** How the broker is. */
export const status = command({
  number: 3,
  name: 'status',
  since: 1,
  request: record({}),
  reply: record({
    brokerId: integer(),
    version: label,
    nodeVersion: label,
    pid: integer(),
    startedAtMs: milliseconds,
    uptimeMs: milliseconds,
    health: record({ status: oneOf('ok', 'degraded', 'failed'), reasons: list(message, 1000) }),
    connections: integer(),
    topics: integer(),
    partitions: integer(),
    groups: integer(),
    draining: bool,
    /** Averages over the last ten seconds, per second. */
    rates: record({
      publishedRecords: real,
      publishedBytes: real,
      fetchedRecords: real,
      fetchedBytes: real,
      requests: real,
      commits: real,
    }),
    log: record({
      /** Bytes of record batches that retention has not dropped. */
      liveBytes: bytes,
      /** Bytes of the data folder. */
      diskBytes: bytes,
      /** Free space of the file system it is on. */
      freeBytes: bytes,
    }),
    memory: record({ residentBytes: bytes, heapBytes: bytes, externalBytes: bytes }),
  }),
})
