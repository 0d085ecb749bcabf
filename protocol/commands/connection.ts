import { limits } from '../limits.js'
import { bool, integer, list, oneOf, optional, real, record, text } from '../shape.js'
import { command } from './command.js'
import { bytes, label, message, milliseconds } from './fields.js'

/** The current protocol version, and the oldest supported one. */
export const protocolVersion = 1
export const protocolVersionMin = 1

/** The limits of the broker; a client obeys these, not its own constants. */
export const brokerLimits = record({
  frameBytesMax: bytes,
  batchBytesMax: bytes,
  inFlightRequestsMax: integer(1),
  fetchWaitMsMax: milliseconds,
  sessionTimeoutMsMin: milliseconds,
  sessionTimeoutMsMax: milliseconds,
})

/** First frame of every connection: agrees on a version and announces the limits. */
export const hello = command({
  number: 1,
  name: 'hello',
  since: 1,
  request: record({
    versionMin: integer(1, 0xffff),
    versionMax: integer(1, 0xffff),
    clientName: label,
    clientVersion: label,
    /** Credentials for brokers that require them; others ignore them. */
    token: optional(text(2048)),
    /** Makes the broker end the connections that this client opened before on the same lane. */
    connection: optional(
      record({
        /** Random, unique to this client object. */
        client: text(limits.connectionClientBytesMax),
        /** The logical connection: a client uses one connection of a lane at a time. */
        lane: text(limits.connectionLaneBytesMax),
        /** Grows with each attempt to connect. */
        number: integer(1),
      }),
    ),
  }),
  reply: record({
    version: integer(1, 0xffff),
    brokerId: integer(),
    brokerVersion: label,
    limits: brokerLimits,
  }),
})

/** Has no effect: the reply shows that the peer is alive. */
export const ping = command({ number: 2, name: 'ping', since: 1, request: record({}), reply: record({}) })

/** The health of the broker. */
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
      /** Bytes of record batches within retention. */
      liveBytes: bytes,
      /** Bytes of the data folder. */
      diskBytes: bytes,
      /** Free space of its file system. */
      freeBytes: bytes,
    }),
    memory: record({ residentBytes: bytes, heapBytes: bytes, externalBytes: bytes }),
  }),
})
