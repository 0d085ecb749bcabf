import type { Contender, Durability } from '../../lib/contender.js'
import { clientScript, clientVersion, missingClient } from '../lib/clients.js'
import { runningPeer } from '../lib/running_peer.js'
import { missingRedis, redisVersion, startRedis } from './server.js'

const commonSettings = [
  'appendonly yes: without it Redis loses everything since its last snapshot (redis.io, "Redis persistence")',
  'save "" and auto-aof-rewrite-percentage 0: no snapshot and no rewrite of the log during a measurement, in favor of Redis',
  'io-threads 1, as it comes: redis.conf advises more from 4 processors on',
  'client: @redis/client ("node-redis"), RESP 2; it was faster than ioredis in both directions',
  'publisher: pipelines of 500 XADD, or 1,000 where the reply waits for the disk, 4 of them unacknowledged at a time (redis.io, "Redis pipelining"); one stream, not trimmed',
  'consumer: a group, XREADGROUP COUNT 2000, and one XACK for each batch in the same packet as the next read',
] as const

const settingsOf: Readonly<Record<Durability, string>> = {
  default:
    'appendfsync everysec: the default; up to a second of acknowledged messages is lost with the machine',
  fsync:
    'appendfsync always: synced before the reply; strace shows a write, an fdatasync and then the replies, once for all commands of a turn of its loop, also for XACK',
}

/** Redis Streams. */
export const redisContenders: readonly Contender[] = [
  redisContender('redis', 'default'),
  redisContender('redis-fsync', 'fsync'),
]

function redisContender(id: string, durability: Durability): Contender {
  return {
    id,
    system: 'Redis Streams',
    durability,
    settings: [settingsOf[durability], ...commonSettings],
    kinds: ['publish', 'endToEnd', 'latency'],
    missing: async () => (await missingRedis()) ?? missingClient('@redis/client', 'redis/publisher.js'),
    versions: async () => ({
      ...(await redisVersion()),
      '@redis/client': await clientVersion('@redis/client'),
      node: process.versions.node,
    }),
    start: async (dataRoot) =>
      runningPeer(await startRedis(dataRoot, durability), {
        durability,
        stream: {
          publisher: clientScript('redis/publisher.js'),
          consumer: clientScript('redis/consumer.js'),
        },
      }),
  }
}
